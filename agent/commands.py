"""What an operator asks of this device once: answer, begin anew. There is no remote shell."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from agent import VERSION
from agent.errors import AgentError
from agent.executions import NeverDone, Tell
from agent.journal import Journal
from shoal.wire.commands import CommandName, CommandResult, CommandSpec
from shoal.wire.executions import Offer

_RESTARTED: Final = "restarted_by"  # key of the journal, followed by the execution: the instance that was told to end


class Commands:
    """Does commands."""

    def __init__(self, journal: Journal, *, instance: str, boot_id: str, restart: Callable[[], None]) -> None:
        self._journal = journal
        self._instance = instance
        self._boot_id = boot_id
        self._restart = restart
        self._began = time.monotonic()

    async def do(self, offer: Offer, _tell: Tell) -> dict[str, Any]:
        """Do a command; gives a `CommandResult`.

        Raises:
            NeverDone: `command.unknown`.
            AgentError: `command.malformed`.
        """
        try:
            spec = msgspec.json.decode(offer.spec, type=CommandSpec)
        except msgspec.DecodeError as error:
            raise AgentError("command.malformed", f"The command does not parse: {error}") from error
        if spec.name == CommandName.RESTART_AGENT:
            await self._begin_anew(offer.execution_id)
        elif spec.name != CommandName.PING:
            raise NeverDone("command.unknown", f"This agent knows no command {spec.name[:40]!r}.")
        result = CommandResult(
            instance=self._instance,
            boot_id=self._boot_id,
            agent_version=VERSION,
            uptime_s=round(time.monotonic() - self._began, 3),
            sessions=int(self._journal.get("session") or b"0"),
        )
        done: dict[str, Any] = msgspec.to_builtins(result)
        return done

    async def _begin_anew(self, execution_id: str) -> None:
        """End this process; the next one finds the execution open in the journal, and who had to end for it."""
        key = f"{_RESTARTED}:{execution_id}"
        ended = self._journal.get(key)
        if ended is not None and ended.decode() != self._instance:
            self._journal.remove(key)
            return
        self._journal.put(key, self._instance.encode())
        self._restart()
        await asyncio.Event().wait()  # until this process ends
