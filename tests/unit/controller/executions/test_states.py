"""The table of an execution's life, and its timers."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import Conflict
from controller.executions.states import TRANSITIONS, ExecutionState, Step, Timer, is_end, move, next_step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAST, FUTURE = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
OPEN = [state for state in ExecutionState if not is_end(state)]


@pytest.mark.parametrize("state", ExecutionState)
def test_table_when_read_then_has_every_state_and_ends_are_final(state: ExecutionState) -> None:
    assert (TRANSITIONS[state] == frozenset()) == is_end(state)


@pytest.mark.parametrize("state", [state for state in ExecutionState if is_end(state)])
def test_move_when_ended_then_conflicts_with_from_and_to(state: ExecutionState) -> None:
    with pytest.raises(Conflict) as caught:
        move(state, ExecutionState.SUCCEEDED)
    assert caught.value.facts == {"from_state": state.value, "to_state": "succeeded"}


@pytest.mark.parametrize("state", OPEN)
def test_move_when_open_then_can_be_canceled(state: ExecutionState) -> None:
    assert move(state, ExecutionState.CANCELED) is ExecutionState.CANCELED


@pytest.mark.parametrize(
    ("state", "attempt", "online", "deadline_at", "step"),
    [
        (ExecutionState.QUEUED, 0, True, None, Step.SEND),
        (ExecutionState.QUEUED, 0, False, None, Step.NONE),
        (ExecutionState.QUEUED, 1, True, FUTURE, Step.NONE),
        (ExecutionState.QUEUED, 1, True, PAST, Step.SEND),
        (ExecutionState.SENT, 1, True, FUTURE, Step.NONE),
        (ExecutionState.SENT, 1, True, PAST, Step.RETRY),
        (ExecutionState.SENT, 3, True, PAST, Step.TIME_OUT),
        (ExecutionState.IN_PROGRESS, 3, True, PAST, Step.TIME_OUT),
        (ExecutionState.IN_PROGRESS, 3, False, None, Step.NONE),
        (ExecutionState.SUCCEEDED, 1, True, PAST, Step.NONE),
    ],
)
def test_next_step_when_time_passes_then_is_as_the_table_says(
    state: ExecutionState, attempt: int, online: bool, deadline_at: datetime | None, step: Step
) -> None:
    timer = Timer(state=state, attempt=attempt, max_attempts=3, is_device_online=online, deadline_at=deadline_at)
    assert next_step(timer, NOW) is step
