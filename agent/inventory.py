"""Keeps what is known of this machine true: looks again now and then, measures once, and says when something changed.

The slow parts (a vendor's library, NetworkManager, a handshake with the controller) are asked beside the event loop and
remembered; a report is then put together in some milliseconds.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from agent.errors import AgentError
from agent.facts import Surroundings, has_changed, read_facts
from agent.hardware import kept, network
from agent.settings import Settings
from shoal.wire.devices import Facts

_log: Final = logging.getLogger(__name__)
_LOOK_S: Final = 120.0  # what was plugged in is told after this time, and a change at most this often
_SURVEY_S: Final = 600.0  # how old the slow parts may grow
_FRESH_S: Final = 60.0  # a session that opens soon after another one asks nothing anew
_QUIET_LOAD: Final = 0.5  # runnable processes for each core: above it a measurement would say little and disturb
_NAMES_WIDTH: Final = 24


class Inventory:
    """What this machine is, for the session with the controller.

    Args:
        inference_url: Gives where the device answers inference requests.
        is_busy: Tells whether the device works on something that a measurement would disturb.
        load: Gives how many processes want to run, on average.
        look_s: How often to look whether something changed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        boot_id: str,
        controller_url: str,
        inference_url: Callable[[], str],
        is_busy: Callable[[], bool],
        load: Callable[[], float] = lambda: os.getloadavg()[0],
        look_s: float = _LOOK_S,
    ) -> None:
        self._settings = settings
        self._boot_id = boot_id
        self._controller_url = controller_url
        self._inference_url = inference_url
        self._is_busy = is_busy
        self._load = load
        self._look_s = look_s
        self._may_measure = settings.measure == "on"
        self._around = Surroundings()
        self._surveyed_at: float | None = None
        self._told: Facts | None = None

    async def survey(self, *, no_older_than_s: float = _FRESH_S) -> None:
        """Ask the slow parts again, if what they said is older."""
        now = time.monotonic()
        if self._surveyed_at is None or now - self._surveyed_at > no_older_than_s:
            self._around = await survey(
                self._settings, boot_id=self._boot_id, controller_url=self._controller_url, before=self._around
            )
            self._surveyed_at = now

    def report(self) -> Facts:
        """Give the facts of now, and remember that they were told."""
        self._told = self._read()
        return self._told

    async def watch(self, tell: Callable[[], None]) -> None:
        """Call `tell` when a controller should hear of a change, until canceled."""
        while True:
            await asyncio.sleep(self._look_s)
            try:
                await self._look(tell)
            except Exception:  # whatever a machine says of itself must not end its agent
                _log.exception("the machine could not be looked at")

    async def _look(self, tell: Callable[[], None]) -> None:
        if self._may_measure and kept.measured(self._settings) is None and self._is_quiet():
            await self._measure()
        await self.survey(no_older_than_s=_SURVEY_S)
        probed = await kept.probe(self._settings, self._boot_id)
        self._around = replace(self._around, probed=tuple(probed))
        if self._told is not None and has_changed(self._told, self._read()):
            _log.info("the machine has changed: the controller is told")
            tell()

    async def _measure(self) -> None:
        try:
            await kept.measure(self._settings, anew=False)
        except AgentError as error:
            _log.warning("%s It is tried again after the next start.", error)
            self._may_measure = False

    def _is_quiet(self) -> bool:
        return not self._is_busy() and self._load() <= _QUIET_LOAD * (os.cpu_count() or 1)

    def _read(self) -> Facts:
        return read_facts(self._settings, self._inference_url(), self._around)


async def survey(
    settings: Settings, *, boot_id: str, controller_url: str, before: Surroundings | None = None
) -> Surroundings:
    """Ask what takes a while.

    Args:
        before: What was known: while the controller does not answer, the way that it was reached by stands.
    """
    probed = await kept.probe(settings, boot_id)
    metered = await asyncio.to_thread(network.metered_interfaces)
    way = await asyncio.to_thread(network.way_to, controller_url) if controller_url else None
    return Surroundings(probed=tuple(probed), metered=metered, way=way or (before.way if before else None))


def screen(facts: Facts) -> str:
    """Write facts for people, one a line; what is absent is not shown."""
    told: dict[str, Any] = msgspec.to_builtins(facts)
    return "".join(f"{name:{_NAMES_WIDTH}}{_shown(name, value)}\n" for name, value in told.items())


def _shown(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(str(key), one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(_shown(name, one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and name.endswith("_bytes"):
        return f"{value / 2**30:.2f} GiB"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
