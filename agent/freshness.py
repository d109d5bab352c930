"""Whether what the controller says is fresh. Whoever holds the broker cannot make the controller say something, but
could keep its newer words back; the controller therefore says each minute, signed, what time it is.
"""

import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import msgspec

from agent.clock import ticks_s
from agent.journal import Journal
from shoal.wire.devices import ControllerState

STALE_S: Final = 24 * 3600.0
_KEEP_INTERVAL_S: Final = 3600.0  # flash wears out
_KEY: Final = "controller_state"
_HEARD: Final = 10  # words that the controller's clock is told by: a restored controller's may have been set back


class Freshness:
    """The newest word of the controller."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        kept = journal.get(_KEY)
        self._newest = None if kept is None else msgspec.json.decode(kept, type=ControllerState)
        self._heard_at = time.monotonic()
        self._kept_at = -_KEEP_INTERVAL_S
        self._said: deque[float] = deque(maxlen=_HEARD)  # the controller's clock minus this machine's ticks, at most

    def take(self, state: ControllerState) -> bool:
        """Keep a newer word; False for one that is not newer (a retained one, or a replay)."""
        if self._newest is not None and (state.epoch, state.at) <= (self._newest.epoch, self._newest.at):
            return False
        self._newest = state
        self._heard_at = time.monotonic()
        with suppress(ValueError, TypeError):
            self._said.append(datetime.fromisoformat(state.at).timestamp() - ticks_s())
        if self._heard_at - self._kept_at > _KEEP_INTERVAL_S:
            self._kept_at = self._heard_at
            self._journal.put(_KEY, msgspec.json.encode(state))
        return True

    def clock_offset_s(self) -> float | None:
        """Give the controller's clock minus this device's; None while it is not known.

        A word comes after it was said, a retained one long after, so each gives the least that the difference can be:
        the largest of the latest is nearest to the truth. A single word that says this device's clock is ahead may just
        be an old one, so it says nothing. Ticks stand between, as this device's clock may have been set since.
        """
        if not self._said:
            return None
        offset_s = max(self._said) + ticks_s() - time.time()
        return round(offset_s, 1) + 0.0 if offset_s > 0 or len(self._said) > 1 else None

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
