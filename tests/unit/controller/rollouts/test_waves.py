"""Waves: who moves when, and when nothing more is opened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import Invalid
from controller.rollouts.waves import Step, WaveCounts, assign_waves, next_step


def wave(devices: int, succeeded: int = 0, failed: int = 0) -> WaveCounts:
    return WaveCounts(devices=devices, succeeded=succeeded, failed=failed)


@pytest.mark.parametrize(
    ("opened", "limit", "step"),
    [
        ([], 0.0, Step.OPEN_NEXT),
        ([wave(1)], 0.0, Step.WAIT),
        ([wave(1, succeeded=1)], 0.0, Step.OPEN_NEXT),
        ([wave(1, failed=1)], 0.0, Step.PAUSE),
        ([wave(10, failed=1)], 0.1, Step.WAIT),
        ([wave(10, failed=2)], 0.1, Step.PAUSE),
        ([wave(10, succeeded=9, failed=1)], 0.1, Step.OPEN_NEXT),
        ([wave(1, succeeded=1), wave(4, succeeded=4)], 0.0, Step.SUCCEED),
        ([wave(1, succeeded=1), wave(0)], 0.0, Step.SUCCEED),
    ],
)
def test_next_step_when_waves_stand_so_then_is(opened: list[WaveCounts], limit: float, step: Step) -> None:
    assert next_step(opened, 2, limit) is step


@given(
    st.integers(1, 500),
    st.lists(
        st.integers(1, 50).map(lambda count: {"count": count})
        | st.floats(0.001, 1).map(lambda ratio: {"ratio": ratio}),
        min_size=1,
        max_size=8,
    ),
)
def test_assign_waves_when_any_plan_then_everybody_moves_once_in_order(
    devices: int, plan: list[dict[str, float]]
) -> None:
    assigned = assign_waves(devices, plan)
    assert len(assigned) == devices
    assert assigned == sorted(assigned)
    assert assigned[-1] < len(plan)


def test_assign_waves_when_nobody_is_meant_then_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        assign_waves(0, [{"count": 1}])
    assert caught.value.code == "rollout.no_devices"
