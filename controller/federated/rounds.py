"""When a round opens, when it closes, and when a run ends. Pure.

A round closes when everybody has answered; or, with enough updates, when its time is over or those that are missing
have been away for a while. Without enough updates the run fails, by name, rather than going on with what nobody gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

OFFLINE_GRACE: Final = timedelta(seconds=60)  # a reboot, or the longest pause of an agent that connects again


class RunState(StrEnum):
    """How a federated run stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class RoundState(StrEnum):
    """How a round stands."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One device of a cohort.

    Attributes:
        has_ended: Whether nothing more comes from it, be it an update or a refusal.
        offline_since: None while it is online.
    """

    has_ended: bool
    offline_since: datetime | None


@dataclass(frozen=True, kw_only=True)
class OpenRound:
    """The round that is open."""

    started_at: datetime
    members: Sequence[Member]
    updates: int


@dataclass(frozen=True, kw_only=True)
class RunSnapshot:
    """A running run.

    Attributes:
        eligible: Devices that could take part in a round now; looked at only where none is open.
        idle_since: When the last round closed, or the run was created.
    """

    rounds_total: int
    rounds_closed: int
    round: OpenRound | None
    eligible: int
    idle_since: datetime
    round_timeout: timedelta
    min_updates: int


class Step(StrEnum):
    """What to do with a run now."""

    WAIT = "wait"
    OPEN_ROUND = "open_round"
    CLOSE_ROUND = "close_round"
    FAIL = "fail"
    SUCCEED = "succeed"


@dataclass(frozen=True)
class Decision:
    """A step; `code` and `message` say why, where it is FAIL."""

    step: Step
    code: str = ""
    message: str = ""


def next_step(run: RunSnapshot, now: datetime) -> Decision:
    """Decide by the round that is open, or by who could take part in the next."""
    if run.round is not None:
        return _step_of_round(run, run.round, now)
    if run.rounds_closed >= run.rounds_total:
        return Decision(Step.SUCCEED)
    if run.eligible >= run.min_updates:
        return Decision(Step.OPEN_ROUND)
    if now - run.idle_since >= run.round_timeout:
        message = f"For {run.round_timeout.total_seconds():.0f} s {run.eligible} devices could take part."
        return Decision(Step.FAIL, "round.no_cohort", f"{message} A round needs {run.min_updates}.")
    return Decision(Step.WAIT)


def _step_of_round(run: RunSnapshot, opened: OpenRound, now: datetime) -> Decision:
    missing = [member for member in opened.members if not member.has_ended]
    is_over = now - opened.started_at >= run.round_timeout
    has_enough = opened.updates >= run.min_updates
    if missing and not is_over and not (has_enough and all(_is_lost(member, now) for member in missing)):
        return Decision(Step.WAIT)
    if has_enough:
        return Decision(Step.CLOSE_ROUND)
    message = f"{opened.updates} of {len(opened.members)} devices gave an update; the round needs {run.min_updates}."
    return Decision(Step.FAIL, "round.too_few_updates", message)


def _is_lost(member: Member, now: datetime) -> bool:
    return member.offline_since is not None and now - member.offline_since >= OFFLINE_GRACE
