"""Whether a device's evidence starts an update now. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# Until what it learned is rolled out, the device still serves the version that drifted, and says so with each window.
COOLDOWN: Final = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the decision rests on.

    Attributes:
        version: That the evidence speaks of.
        serving_version: That the device serves by its latest report; None while it serves none.
        has_open_update: Whether the device is learning for this model already.
        last_finished_at: When its latest update for this model ended.
    """

    drift_detected: bool
    is_policy_active: bool
    can_train: bool
    version: int
    serving_version: int | None
    has_open_update: bool
    last_finished_at: datetime | None


def obstacle(situation: Situation, now: datetime) -> str:
    """Say why no update starts; empty where one does.

    >>> drifted = Situation(drift_detected=True, is_policy_active=True, can_train=True, version=1, serving_version=1,
    ...                     has_open_update=False, last_finished_at=None)
    >>> obstacle(drifted, datetime(2026, 1, 1))
    ''
    """
    if not situation.drift_detected:
        return "no_drift"
    if not situation.is_policy_active:
        return "policy_inactive"
    if not situation.can_train:
        return "cannot_train"
    if situation.version != situation.serving_version:
        return "other_version"
    if situation.has_open_update:
        return "already_learning"
    if situation.last_finished_at is not None and now - situation.last_finished_at < COOLDOWN:
        return "cooldown"
    return ""
