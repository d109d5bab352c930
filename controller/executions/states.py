"""The life of an execution: one transition table, and what its timer does when it fires. Pure.

`rejected` means that the device will never do it; `failed` that it tried. Both end the execution; a silence is tried
again until the attempts are used up, and is `timed_out` then.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from controller.errors import Conflict


class ExecutionState(StrEnum):
    """How an execution stands."""

    QUEUED = "queued"
    SENT = "sent"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"


_ENDS: Final = frozenset(
    {
        ExecutionState.SUCCEEDED,
        ExecutionState.FAILED,
        ExecutionState.REJECTED,
        ExecutionState.TIMED_OUT,
        ExecutionState.CANCELED,
    }
)
TRANSITIONS: Final[dict[ExecutionState, frozenset[ExecutionState]]] = {
    # A report can overtake the note that the offer was sent, so a queued execution may move on as a sent one does.
    ExecutionState.QUEUED: _ENDS | {ExecutionState.SENT, ExecutionState.IN_PROGRESS},
    ExecutionState.SENT: _ENDS | {ExecutionState.QUEUED, ExecutionState.IN_PROGRESS},
    ExecutionState.IN_PROGRESS: _ENDS | {ExecutionState.QUEUED, ExecutionState.IN_PROGRESS},
    **{end: frozenset() for end in _ENDS},
}

_FIRST_RETRY: Final = timedelta(seconds=2)
_LONGEST_RETRY: Final = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Timer:
    """What a decision about time needs of an execution.

    Attributes:
        attempt: The present one, counted from 1; 0 before the first was sent.
        deadline_at: When the present state's timer fires; None while none runs, as for an offline device.
    """

    state: ExecutionState
    attempt: int
    max_attempts: int
    is_device_online: bool
    deadline_at: datetime | None


class Step(StrEnum):
    """What to do with an execution now."""

    NONE = "none"
    SEND = "send"
    RETRY = "retry"
    TIME_OUT = "time_out"


def is_end(state: ExecutionState) -> bool:
    """Tell whether nothing can follow.

    >>> is_end(ExecutionState.SUCCEEDED), is_end(ExecutionState.SENT)
    (True, False)
    """
    return state in _ENDS


def move(present: ExecutionState, wanted: ExecutionState) -> ExecutionState:
    """Give `wanted` if an execution may go there.

    Raises:
        Conflict: `execution.illegal_transition`, with `from_state` and `to_state`.
    """
    if wanted not in TRANSITIONS[present]:
        raise Conflict(
            "execution.illegal_transition",
            f"An execution that is {present} cannot become {wanted}.",
            from_state=present.value,
            to_state=wanted.value,
        )
    return wanted


def next_step(timer: Timer, now: datetime) -> Step:
    """Decide what time asks for: send a queued one, give a silent one another attempt, or end it as timed out."""
    if is_end(timer.state):
        return Step.NONE
    is_due = timer.deadline_at is None or now >= timer.deadline_at
    if timer.state is ExecutionState.QUEUED:
        return Step.SEND if timer.is_device_online and is_due else Step.NONE
    if timer.deadline_at is None or not is_due:
        return Step.NONE
    return Step.RETRY if timer.attempt < timer.max_attempts else Step.TIME_OUT


def retry_after(attempt: int) -> timedelta:
    """Give the pause before the next attempt: 2 s, doubled each time, at most ten minutes.

    >>> retry_after(1).total_seconds(), retry_after(3).total_seconds(), retry_after(100).total_seconds()
    (2.0, 8.0, 600.0)
    """
    return min(_FIRST_RETRY * (1 << min(attempt - 1, 16)), _LONGEST_RETRY)
