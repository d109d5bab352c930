"""The life of a job: one transition table, and what to do with one that a crash left running. Pure."""

from enum import StrEnum
from typing import Final

from controller.errors import Conflict

MAX_ATTEMPTS: Final = 3  # a job that ends the controller itself must not do so for ever
MAX_UNIT_ATTEMPTS: Final = 2  # likewise a part of one that ends its worker


class JobState(StrEnum):
    """How a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # it cannot be done within what was asked; the result has the closest
    FAILED = "failed"
    CANCELED = "canceled"


class TrialState(StrEnum):
    """How a part of a job ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # not good enough, or impossible
    STOPPED = "stopped"  # it could not win any more
    FAILED = "failed"


TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.REFUSED, JobState.FAILED, JobState.CANCELED}),
    # Running follows running: the next attempt, after a crash of the controller.
    JobState.RUNNING: frozenset(
        {JobState.RUNNING, JobState.SUCCEEDED, JobState.REFUSED, JobState.FAILED, JobState.CANCELED}
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.REFUSED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELED: frozenset(),
}


def is_end(state: JobState) -> bool:
    """Tell whether nothing can follow.

    >>> is_end(JobState.FAILED), is_end(JobState.RUNNING)
    (True, False)
    """
    return not TRANSITIONS[state]


def move(present: JobState, wanted: JobState) -> JobState:
    """Give `wanted` if a job may go there.

    Raises:
        Conflict: `job.illegal_transition`, with `from_state` and `to_state`.
    """
    if wanted not in TRANSITIONS[present]:
        raise Conflict(
            "job.illegal_transition",
            f"A job that is {present} cannot become {wanted}.",
            from_state=present.value,
            to_state=wanted.value,
        )
    return wanted


def may_begin(attempts: int) -> bool:
    """Tell whether a job that was begun `attempts` times may be begun once more.

    >>> may_begin(0), may_begin(2), may_begin(3)
    (True, True, False)
    """
    return attempts < MAX_ATTEMPTS
