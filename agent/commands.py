"""What an operator asks of this device once: answer, begin anew, send the log, measure, forget; no remote shell."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from agent import VERSION, logs
from agent.door import Door, patiently
from agent.errors import AgentError
from agent.executions import NeverDone, Tell
from agent.forgetting import forget_datasets
from agent.hardware import kept
from agent.identity import Identity
from agent.journal import Journal
from agent.learning import Learning
from agent.settings import Settings
from agent.telemetry import Telemetry
from shoal.wire.commands import CommandName, CommandResult, CommandSpec
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import ExecutionKind, Offer

_log: Final = logging.getLogger(__name__)
_RESTARTED: Final = "restarted_by"  # key of the journal, followed by the execution: the instance that was told to end
_LEARNING: Final = frozenset({ExecutionKind.FEDERATED_ROUND, ExecutionKind.INCREMENTAL_UPDATE})


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What commands are done with.

    Attributes:
        instance: Of this start of the agent.
        restart: Ends this process and begins another.
        tell_facts: Says the facts again: they have changed.
    """

    settings: Settings
    identity: Identity
    journal: Journal
    learning: Learning
    telemetry: Telemetry
    instance: str
    boot_id: str
    restart: Callable[[], None]
    tell_facts: Callable[[], None]


class Commands:
    """Does commands."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._began = time.monotonic()
        self._doing: Mapping[str, Callable[[Offer, CommandSpec, Tell], Awaitable[dict[str, Any]]]] = {
            CommandName.PING: self._ping,
            CommandName.RESTART_AGENT: self._begin_anew,
            CommandName.COLLECT_LOGS: self._collect_logs,
            CommandName.BENCHMARK: self._benchmark,
            CommandName.FORGET_DATA: self._forget_data,
        }

    async def do(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        """Do a command; gives a `CommandResult`.

        Raises:
            NeverDone: `command.unknown`.
            AgentError: `command.malformed`, `command.busy`, `data.not_deletable`; the door's; `benchmark.failed`.
        """
        try:
            spec = msgspec.json.decode(offer.spec, type=CommandSpec)
        except msgspec.DecodeError as error:
            raise AgentError("command.malformed", f"The command does not parse: {error}") from error
        do = self._doing.get(spec.name)
        if do is None:
            raise NeverDone("command.unknown", f"This agent knows no command {spec.name[:40]!r}.")
        _log.info("command %s, execution %s, attempt %d", spec.name, offer.execution_id, offer.attempt)
        given = await do(offer, spec, tell)
        result = CommandResult(
            instance=self._parts.instance,
            boot_id=self._parts.boot_id,
            agent_version=VERSION,
            uptime_s=round(time.monotonic() - self._began, 3),
            sessions=int(self._parts.journal.get("session") or b"0"),
            **given,
        )
        done: dict[str, Any] = msgspec.to_builtins(result)
        return done

    async def _ping(self, _offer: Offer, _spec: CommandSpec, _tell: Tell) -> dict[str, Any]:
        return {}

    async def _begin_anew(self, offer: Offer, _spec: CommandSpec, _tell: Tell) -> dict[str, Any]:
        """End this process; the next one finds the execution open in the journal, and who had to end for it."""
        key = f"{_RESTARTED}:{offer.execution_id}"
        ended = self._parts.journal.get(key)
        if ended is not None and ended.decode() != self._parts.instance:
            self._parts.journal.remove(key)
            return {}
        self._parts.journal.put(key, self._parts.instance.encode())
        self._parts.restart()
        await asyncio.Event().wait()  # until this process ends
        return {}

    async def _collect_logs(self, offer: Offer, spec: CommandSpec, tell: Tell) -> dict[str, Any]:
        """Send the log's end under a line that says whose it is, so that no two devices send the same bytes."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        head = f"# {self._parts.identity.device_id}, agent {VERSION}, {now}, {offer.execution_id[:64]}\n".encode()
        state = self._parts.settings.state
        data = head + await asyncio.to_thread(logs.end_of, state, spec.log_bytes - len(head))
        sha256 = hashlib.sha256(data).hexdigest()
        path = state / f"{sha256}.upload"
        tell(0.5, f"sending {len(data)} bytes")
        try:
            path.write_bytes(data)
            await patiently(lambda: Door(self._parts.identity).upload(path, sha256))
        finally:
            path.unlink(missing_ok=True)
        return {"log": ArtifactRef(sha256=sha256, size_bytes=len(data))}

    async def _benchmark(self, _offer: Offer, _spec: CommandSpec, tell: Tell) -> dict[str, Any]:
        tell(0.1, "measuring")
        found = await kept.measure(self._parts.settings, anew=True)
        self._parts.tell_facts()
        return {"measured": found}

    async def _forget_data(self, _offer: Offer, _spec: CommandSpec, tell: Tell) -> dict[str, Any]:
        """Delete the data sets, what was fetched to learn and what came of it, and the telemetry that waits.

        The identity stays, the journal of executions, and what serves.
        """
        if any(one.type in _LEARNING for one in self._parts.journal.open_offers()):
            raise AgentError("command.busy", "The device is learning: cancel that, or wait for its end.")
        tell(0.1, "deleting data sets")
        datasets = await asyncio.to_thread(forget_datasets, self._parts.settings.data_folder())
        tell(0.8, "deleting what was learned")
        learned = await self._parts.learning.forget_all()
        return {"forgotten": {"datasets": datasets, "learning": learned, "telemetry": self._parts.telemetry.forget()}}
