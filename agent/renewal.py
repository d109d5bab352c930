"""Keeps the device's certificate fresh: in time, where a broker refuses the one that there is, and where the journal
was lost, since only the controller knows then how far this device's sessions had counted.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Final

from agent.door import Door
from agent.errors import AgentError
from agent.identity import Identity

_log: Final = logging.getLogger(__name__)
_LOOK_S: Final = 60.0
_PAUSE_S: Final = 60.0  # between two requests, whoever wants them


class Renewal:
    """Asks for fresh certificates."""

    def __init__(self, identity: Identity, *, has_lost_count: bool, on_failure: Callable[[AgentError], None]) -> None:
        self._identity = identity
        self._has_lost_count = has_lost_count
        self._on_failure = on_failure
        self._asked_at = -_PAUSE_S

    async def before_session(self, was_refused: bool) -> None:
        """Do what has to be done before a session is opened.

        Args:
            was_refused: Whether the broker or the controller did not want the last one.
        """
        while self._has_lost_count:  # with numbers that were counted before, this device would look like a copy
            await self._renew()
            if self._has_lost_count:
                await asyncio.sleep(_PAUSE_S * random.uniform(0.5, 1))  # noqa: S311 (jitter, no secret)
        if was_refused or self._identity.is_renewal_due():
            await self._renew()

    async def keep(self) -> None:
        """Renew in time, until canceled; the open session goes on, the next one uses the fresh certificate."""
        while True:
            await asyncio.sleep(_LOOK_S * random.uniform(0.5, 1))  # noqa: S311 (jitter, no secret)
            if self._identity.is_renewal_due():
                await self._renew()

    async def _renew(self) -> None:
        if time.monotonic() - self._asked_at < _PAUSE_S:
            return
        self._asked_at = time.monotonic()
        try:
            await asyncio.to_thread(lambda: Door(self._identity).renew())
        except AgentError as error:
            _log.warning("no fresh certificate: %s (%s)", error, error.code)
            self._on_failure(error)
        else:
            self._has_lost_count = False
            _log.info("the certificate was renewed")
