"""The life of an execution: one transition table, and what its timer does when it fires. Pure.

`rejected` means that the device will never do it and ends the execution; `failed` that it tried, and `retries` says
whether it is tried again. A silence is tried again until the attempts are used up, and is `timed_out` then.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
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


class Priority(IntEnum):
    """Which of two that wait for the same device goes first."""

    LOW = 10
    NORMAL = 20
    HIGH = 30


@dataclass(frozen=True, kw_only=True)
class Timer:
    """What a decision about time needs of an execution.

    Attributes:
        can_act: Whether its device is active and online; the timers of one that is not stand still.
        deadline_at: When the present state's timer fires.
        expires_at: When it ends, whatever it waits for.
    """

    state: ExecutionState
    can_act: bool
    deadline_at: datetime | None
    expires_at: datetime


class Step(StrEnum):
    """What to do with an execution now."""

    NONE = "none"
    SEND = "send"
    RETRY = "retry"
    EXPIRE = "expire"


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
    """Decide what time asks for: send a queued one, give a silent one another attempt, or end it as expired."""
    if is_end(timer.state):
        return Step.NONE
    if now >= timer.expires_at:
        return Step.EXPIRE
    if not timer.can_act or (timer.deadline_at is not None and now < timer.deadline_at):
        return Step.NONE
    return Step.SEND if timer.state is ExecutionState.QUEUED else Step.RETRY
