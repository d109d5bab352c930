"""The loop that makes the device what is desired, one step at a time.

Invariants: one step runs at a time; each is journaled when it is done; whatever a step does, the loop goes on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from agent.steps import Step

_log: Final = logging.getLogger(__name__)


class Supervisor:
    """Runs steps until there are none, each time that it is woken."""

    def __init__(self, plan: Callable[[], Step | None], run: Callable[[Step], Awaitable[None]]) -> None:
        self._plan = plan
        self._run = run
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again whether there is something to do."""
        self._woken.set()

    async def supervise(self) -> None:
        """Run steps until canceled."""
        pause_s = 1.0
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                while (step := self._plan()) is not None:
                    await self._run(step)
                pause_s = 1.0
            except Exception:  # the loop's edge: whatever a step does, the device goes on being supervised
                _log.exception("a step failed unexpectedly; trying again in %.0f s", pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 300.0)
                self._woken.set()
