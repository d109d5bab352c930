"""The gate: what is kept of what a device learned."""

import pytest

from controller.incremental.gate import Accuracies, UpdateState, judge


@pytest.mark.parametrize(
    ("old_before", "old_after", "new_before", "new_after", "state"),
    [
        (0.96, 0.95, 0.10, 0.90, UpdateState.KEPT),
        (0.96, 0.93, 0.10, 0.90, UpdateState.KEPT),  # 0.96 - 0.93 is a little more than 0.03 in floating point
        (0.96, 0.92, 0.10, 0.90, UpdateState.REJECTED),
        (0.96, 0.97, 0.10, 0.10, UpdateState.REJECTED),
        (0.96, 0.97, 0.50, 0.40, UpdateState.REJECTED),
    ],
)
def test_judge_when_accuracies_are_so_then_is(
    old_before: float, old_after: float, new_before: float, new_after: float, state: UpdateState
) -> None:
    learned = Accuracies(old_before=old_before, old_after=old_after, new_before=new_before, new_after=new_after)
    verdict = judge(learned, 0.03)
    assert verdict.state is state
    assert verdict.message
