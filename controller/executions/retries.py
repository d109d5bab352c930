"""Which failures are worth another attempt, how often, and after what pause. Pure.

A device says what went wrong by a code; its class decides. What is not listed is final: doing it again would only fail
again, and a person has to look.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class ErrorClass(StrEnum):
    """What kind of failure it was.

    `silence`: no answer in time. `passing`: something on the way was not there. `resource`: the device lacks room.
    `crash`: a process on the device died or hung. `final`: it would fail again.
    """

    SILENCE = "silence"
    PASSING = "passing"
    RESOURCE = "resource"
    CRASH = "crash"
    FINAL = "final"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a class is tried again.

    Attributes:
        max_attempts: Attempts in all, the first included.
        first, longest: The pause is `first`, doubled with each attempt, at most `longest`.
    """

    max_attempts: int
    first: timedelta
    longest: timedelta


POLICIES: Final[dict[ErrorClass, Policy]] = {
    ErrorClass.SILENCE: Policy(max_attempts=10, first=timedelta(seconds=2), longest=timedelta(minutes=10)),
    ErrorClass.PASSING: Policy(max_attempts=10, first=timedelta(seconds=5), longest=timedelta(minutes=10)),
    ErrorClass.RESOURCE: Policy(max_attempts=5, first=timedelta(minutes=1), longest=timedelta(hours=1)),
    ErrorClass.CRASH: Policy(max_attempts=3, first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    ErrorClass.FINAL: Policy(max_attempts=1, first=timedelta(0), longest=timedelta(0)),
}
_CLASSES: Final = {
    "controller.unreachable": ErrorClass.PASSING,
    "controller.bad_answer": ErrorClass.PASSING,
    "database.unavailable": ErrorClass.PASSING,
    "request.clock_skew": ErrorClass.PASSING,
    "execution.too_many": ErrorClass.PASSING,
    "artifact.no_space": ErrorClass.RESOURCE,
    "command.busy": ErrorClass.RESOURCE,
    "process.crashed": ErrorClass.CRASH,
    "process.hung": ErrorClass.CRASH,
    "process.not_started": ErrorClass.CRASH,
    "execution.timed_out": ErrorClass.CRASH,
}


def class_of(code: str) -> ErrorClass:
    """Give the class of a failure's code.

    >>> class_of("artifact.no_space").value, class_of("golden.failed").value
    ('resource', 'final')
    """
    return _CLASSES.get(code, ErrorClass.FINAL)


def retry_at(
    execution_id: str, error_class: ErrorClass, attempt: int, max_attempts: int, now: datetime
) -> datetime | None:
    """Give when the next attempt may be made, None where there is none.

    The pause lies between half and the whole of the policy's, by the execution's id, so that a thousand devices that
    failed together do not come back together; the same question always has the same answer.

    Args:
        attempt: The one that failed, from 1.
        max_attempts: Bound of the execution itself, over that of the class.
    """
    policy = POLICIES[error_class]
    if attempt >= min(policy.max_attempts, max_attempts):
        return None
    pause = min(policy.first * (1 << min(attempt - 1, 16)), policy.longest)
    share = hashlib.sha256(f"{execution_id}/{attempt}".encode()).digest()[0] / 255
    return now + pause * (0.5 + share / 2)
