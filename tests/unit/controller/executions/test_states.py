"""The table of an execution's life, and its timers."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import Conflict
from controller.executions.retries import POLICIES, ErrorClass, retry_at
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
    ("state", "can_act", "deadline_at", "expires_at", "step"),
    [
        (ExecutionState.QUEUED, True, None, FUTURE, Step.SEND),
        (ExecutionState.QUEUED, False, PAST, FUTURE, Step.NONE),
        (ExecutionState.QUEUED, True, FUTURE, FUTURE, Step.NONE),
        (ExecutionState.QUEUED, True, PAST, FUTURE, Step.SEND),
        (ExecutionState.SENT, True, FUTURE, FUTURE, Step.NONE),
        (ExecutionState.SENT, True, PAST, FUTURE, Step.RETRY),
        (ExecutionState.IN_PROGRESS, True, PAST, FUTURE, Step.RETRY),
        (ExecutionState.IN_PROGRESS, False, PAST, FUTURE, Step.NONE),
        (ExecutionState.QUEUED, False, FUTURE, PAST, Step.EXPIRE),
        (ExecutionState.IN_PROGRESS, True, FUTURE, PAST, Step.EXPIRE),
        (ExecutionState.SUCCEEDED, True, PAST, PAST, Step.NONE),
    ],
)
def test_next_step_when_time_passes_then_is_as_the_table_says(
    state: ExecutionState, can_act: bool, deadline_at: datetime | None, expires_at: datetime, step: Step
) -> None:
    timer = Timer(state=state, can_act=can_act, deadline_at=deadline_at, expires_at=expires_at)
    assert next_step(timer, NOW) is step


@pytest.mark.parametrize("error_class", ErrorClass)
def test_retry_when_attempts_are_left_then_its_pause_grows_within_the_policy(error_class: ErrorClass) -> None:
    policy = POLICIES[error_class]
    for attempt in range(1, policy.max_attempts):
        again_at = retry_at("e", error_class, attempt, 100, NOW)
        assert again_at is not None
        assert policy.first / 2 <= again_at - NOW <= policy.longest
    assert retry_at("e", error_class, policy.max_attempts, 100, NOW) is None
    assert retry_at("e", error_class, 1, 1, NOW) is None


def test_retry_when_many_failed_together_then_they_do_not_come_back_together() -> None:
    pauses = {retry_at(f"e{number}", ErrorClass.PASSING, 3, 10, NOW) for number in range(100)}
    assert len(pauses) > 50
