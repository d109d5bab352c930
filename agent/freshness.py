"""Whether what the controller says is fresh. Whoever holds the broker cannot make the controller say something, but
could keep its newer words back; the controller therefore says each minute, signed, what time it is.
"""

import time
from datetime import UTC, datetime
from typing import Final

import msgspec

from agent.journal import Journal
from shoal.wire.devices import ControllerState

STALE_S: Final = 24 * 3600.0
_KEEP_INTERVAL_S: Final = 3600.0  # flash wears out
_KEY: Final = "controller_state"


class Freshness:
    """The newest word of the controller."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        kept = journal.get(_KEY)
        self._newest = None if kept is None else msgspec.json.decode(kept, type=ControllerState)
        self._heard_at = time.monotonic()
        self._kept_at = -_KEEP_INTERVAL_S

    def take(self, state: ControllerState) -> bool:
        """Keep a newer word; False for one that is not newer (a retained one, or a replay)."""
        if self._newest is not None and (state.epoch, state.at) <= (self._newest.epoch, self._newest.at):
            return False
        self._newest = state
        self._heard_at = time.monotonic()
        if self._heard_at - self._kept_at > _KEEP_INTERVAL_S:
            self._kept_at = self._heard_at
            self._journal.put(_KEY, msgspec.json.encode(state))
        return True

    def problem(self) -> str:
        """Say that the newest word is older than a day, by the time since it came or by this device's clock."""
        if self._newest is None:
            return ""
        waited_s = time.monotonic() - self._heard_at
        try:
            age_s = (datetime.now(UTC) - datetime.fromisoformat(self._newest.at)).total_seconds()
        except (ValueError, TypeError):
            age_s = 0.0
        if max(waited_s, age_s) < STALE_S:
            return ""
        return f"stale_controller: its newest word is of {self._newest.at}; somebody may keep newer ones back."
