"""The table of a job's life."""

import pytest

from controller.errors import Conflict
from controller.jobs.states import MAX_ATTEMPTS, TRANSITIONS, JobState, is_end, may_begin, move

ENDS = [state for state in JobState if is_end(state)]
OPEN = [state for state in JobState if not is_end(state)]


def test_table_when_read_then_has_every_state() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert set(ENDS) == {JobState.SUCCEEDED, JobState.REFUSED, JobState.FAILED, JobState.CANCELED}


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("wanted", JobState)
def test_move_when_ended_then_conflicts_with_from_and_to(state: JobState, wanted: JobState) -> None:
    with pytest.raises(Conflict) as caught:
        move(state, wanted)
    assert caught.value.facts == {"from_state": state.value, "to_state": wanted.value}


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("wanted", [JobState.RUNNING, JobState.REFUSED, JobState.FAILED, JobState.CANCELED])
def test_move_when_open_then_can_run_fail_and_be_canceled(state: JobState, wanted: JobState) -> None:
    assert move(state, wanted) is wanted


def test_move_when_queued_then_cannot_succeed_at_once() -> None:
    with pytest.raises(Conflict):
        move(JobState.QUEUED, JobState.SUCCEEDED)


def test_attempts_when_used_up_then_none_may_begin() -> None:
    assert [may_begin(attempts) for attempts in range(MAX_ATTEMPTS + 1)] == [True] * MAX_ATTEMPTS + [False]
