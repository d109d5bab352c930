"""What virtual devices do when they are asked: commands, federated rounds, incremental updates, profiles.

An update is the weights that were fetched, each a little larger or smaller: it has their names and shapes, and means
nothing.
"""

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from agent import VERSION
from agent.door import Door, patiently
from agent.errors import AgentError
from agent.executions import NeverDone, Tell, Work
from agent.identity import Identity
from agent.learning import read_spec
from agent.simulator.chances import Chances
from agent.simulator.downloads import Downloads
from agent.simulator.journal import VirtualJournal
from agent.simulator.measuring import measured_variant
from agent.simulator.population import Machine, chance, measured
from agent.simulator.profile import Profile
from shoal.wire.commands import CommandName, CommandResult, CommandSpec
from shoal.wire.devices import ArtifactRef, Facts, Measured
from shoal.wire.executions import ExecutionKind, Offer
from shoal.wire.federated import FederatedRoundResult, FederatedRoundSpec
from shoal.wire.incremental import IncrementalUpdateResult, IncrementalUpdateSpec
from shoal.wire.profiles import ProfileSpec
from shoal.wire.tensors import decode_tensors, encode_tensors

_MEASURED: Final = "measured"  # keys of the journal
_RESTARTED: Final = "restarted_by"
_STEP: Final = 1e-3  # of the weights' own size
_LOOK_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What a device works with.

    Attributes:
        log: The end of its log, as text.
        restart: Begin anew.
        tell_facts: Say the facts again: they have changed.
    """

    machine: Machine
    profile: Profile
    chances: Chances
    journal: VirtualJournal
    identity: Identity
    downloads: Downloads
    instance: str
    boot_id: str
    log: Callable[[], str]
    restart: Callable[[], None]
    tell_facts: Callable[[], None]


class VirtualWork:
    """The executions of one life of a virtual device."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._began = time.monotonic()

    def kinds(self) -> dict[str, Work]:
        """Give what does each kind of execution."""
        return {
            ExecutionKind.COMMAND: self.command,
            ExecutionKind.FEDERATED_ROUND: self.round,
            ExecutionKind.INCREMENTAL_UPDATE: self.update,
            ExecutionKind.PROFILE: self.measure,
        }

    async def command(self, offer: Offer, _tell: Tell) -> dict[str, Any]:
        """Do a command; gives a `CommandResult`.

        Raises:
            NeverDone: `command.unknown`.
            AgentError: `command.malformed`, or what the profile lets happen.
        """
        try:
            spec = msgspec.json.decode(offer.spec, type=CommandSpec)
        except msgspec.DecodeError as error:
            raise AgentError("command.malformed", f"The command does not parse: {error}") from error
        doing: dict[str, Callable[[Offer, CommandSpec], Awaitable[dict[str, Any]]]] = {
            CommandName.PING: self._ping,
            CommandName.RESTART_AGENT: self._restart,
            CommandName.COLLECT_LOGS: self._collect_logs,
            CommandName.BENCHMARK: self._benchmark,
            CommandName.FORGET_DATA: self._forget_data,
        }
        do = doing.get(spec.name)
        if do is None:
            raise NeverDone("command.unknown", f"This agent knows no command {spec.name[:40]!r}.")
        if spec.name not in (CommandName.PING, CommandName.RESTART_AGENT):
            self._place.chances.command(spec.name)
        special = await do(offer, spec)
        result = CommandResult(
            instance=self._place.instance,
            boot_id=self._place.boot_id,
            agent_version=VERSION,
            uptime_s=round(time.monotonic() - self._began, 3),
            sessions=int(self._place.journal.get("session") or b"0"),
            **special,
        )
        return dict(msgspec.to_builtins(result))

    async def round(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        """Do a federated round; gives a `FederatedRoundResult`.

        Raises:
            NeverDone, AgentError: What the profile lets happen, or the door's.
        """
        spec = read_spec(offer, FederatedRoundSpec)
        where = f"round {spec.round}"
        tell(0.05, f"{where}: fetching")
        await self._fetch(spec.train_program)
        weights = await self._read(spec.weights)
        took_s = await self._train(lambda share: tell(0.1 + 0.8 * share, f"{where}: training"))
        tell(0.9, f"{where}: sending the update")
        update = await self._upload(weights, spec.seed)
        loss = max(0.02, 2.0 * 0.8**spec.round * abs(self._place.chances.around(1, 0.15)))
        result = FederatedRoundResult(
            update=update.sha256,
            size_bytes=update.size_bytes,
            examples=self._place.chances.number(50, 600),
            loss=round(loss, 4),
            duration_s=round(took_s, 3),
        )
        return dict(msgspec.to_builtins(result))

    async def update(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        """Wait for samples and learn them; gives an `IncrementalUpdateResult`.

        Raises:
            NeverDone, AgentError: What the profile lets happen, or the door's.
        """
        spec = read_spec(offer, IncrementalUpdateSpec)
        began = time.monotonic()
        while (samples := int(self._place.profile.samples_per_s * (time.monotonic() - began))) < spec.new_samples:
            tell(0.5 * samples / spec.new_samples, f"{samples} of {spec.new_samples} labelled samples")
            await asyncio.sleep(_LOOK_S)
        tell(0.5, "fetching")
        for ref in (spec.train_program, spec.eval_program, spec.replay, spec.retention):
            await self._fetch(ref)
        weights = await self._read(spec.weights)
        took_s = await self._train(lambda share: tell(0.5 + 0.4 * share, "learning"))
        tell(0.95, "sending the update")
        update = await self._upload(weights, spec.seed)
        chances = self._place.chances
        old, new = min(0.99, chances.around(0.95, 0.01)), min(0.9, max(0.05, chances.around(0.45, 0.1)))
        result = IncrementalUpdateResult(
            update=update.sha256,
            size_bytes=update.size_bytes,
            samples=spec.new_samples,
            old_before=round(old, 4),
            old_after=round(max(0.0, old - abs(chances.around(0.01, 0.01))), 4),
            new_before=round(new, 4),
            new_after=round(min(0.99, new + abs(chances.around(0.4, 0.05))), 4),
            duration_s=round(took_s, 3),
        )
        return dict(msgspec.to_builtins(result))

    async def measure(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        """Measure a variant; gives a `ProfileResult`.

        Raises:
            NeverDone: `runtime.missing`.
            AgentError: What the profile lets happen, or the door's.
        """
        spec = read_spec(offer, ProfileSpec)
        place = self._place
        if spec.variant.runtime not in place.machine.facts.runtimes:
            raise NeverDone("runtime.missing", f"This device does not offer {spec.variant.runtime[:40]}.")
        tell(0.1, "fetching")
        for ref in (spec.variant.artifact, spec.variant.golden):
            await self._fetch(ref)
        tell(0.6, "measuring")
        await asyncio.sleep(place.chances.duration_s(place.profile.trial_s))
        passed = True
        try:
            place.chances.trial()
        except AgentError as error:
            if error.code != "golden.failed":
                raise
            passed = False
        return dict(msgspec.to_builtins(measured_variant(place.machine, spec, passed=passed)))

    async def _ping(self, _offer: Offer, _spec: CommandSpec) -> dict[str, Any]:
        return {}

    async def _restart(self, offer: Offer, _spec: CommandSpec) -> dict[str, Any]:
        """End this life; the next one finds the execution open, and who had to end for it."""
        key = f"{_RESTARTED}:{offer.execution_id}"
        ended = self._place.journal.get(key)
        if ended is not None and ended.decode() != self._place.instance:
            self._place.journal.remove(key)
            return {}
        self._place.journal.put(key, self._place.instance.encode())
        self._place.restart()
        await asyncio.Event().wait()  # until this life ends
        return {}

    async def _collect_logs(self, _offer: Offer, spec: CommandSpec) -> dict[str, Any]:
        return {"log": await self._send(self._place.log().encode()[-spec.log_bytes :])}

    async def _benchmark(self, _offer: Offer, _spec: CommandSpec) -> dict[str, Any]:
        await asyncio.sleep(self._place.chances.duration_s(self._place.profile.benchmark_s))
        machine = self._place.machine
        now = datetime.now(UTC).isoformat(timespec="seconds")
        found = measured(machine.board, chance(machine.seed, machine.number, now), now)
        self._place.journal.put(_MEASURED, msgspec.json.encode(found))
        self._place.tell_facts()
        return {"measured": found}

    async def _forget_data(self, _offer: Offer, _spec: CommandSpec) -> dict[str, Any]:
        number = self._place.chances.number
        return {"forgotten": {"datasets": number(10**6, 10**8), "replay": number(10**5, 10**6), "telemetry": 0}}

    async def _train(self, tell: Callable[[float], None]) -> float:
        """Take the time that training takes; gives it.

        Raises:
            NeverDone, AgentError: What the profile lets happen, halfway.
        """
        lasts_s = self._place.chances.duration_s(self._place.profile.training_s)
        began = time.monotonic()
        is_tested = False
        while (gone := time.monotonic() - began) < lasts_s:
            if gone > lasts_s / 2 and not is_tested:
                is_tested = True
                self._place.chances.training()
            tell(gone / lasts_s)
            await asyncio.sleep(min(_LOOK_S, lasts_s / 4))
        if not is_tested:
            self._place.chances.training()
        return lasts_s

    async def _fetch(self, ref: ArtifactRef) -> None:
        identity, downloads = self._place.identity, self._place.downloads
        await patiently(lambda: downloads.fetch(ref, Door(identity), lambda _share: None))

    async def _read(self, ref: ArtifactRef) -> bytes:
        identity, downloads = self._place.identity, self._place.downloads
        return await patiently(lambda: downloads.read(ref, Door(identity)))

    async def _upload(self, weights: bytes, seed: int) -> ArtifactRef:
        return await self._send(await asyncio.to_thread(moved, weights, seed))

    async def _send(self, data: bytes) -> ArtifactRef:
        sha256 = hashlib.sha256(data).hexdigest()

        def send() -> None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                Door(self._place.identity).upload(Path(file.name), sha256)

        await patiently(send)
        return ArtifactRef(sha256=sha256, size_bytes=len(data))


def facts_now(machine: Machine, journal: VirtualJournal) -> Facts:
    """Give a device's facts with what it measured since."""
    found = journal.get(_MEASURED)
    if found is None:
        return machine.facts
    return msgspec.structs.replace(machine.facts, measured=msgspec.json.decode(found, type=Measured))


def moved(weights: bytes, seed: int) -> bytes:
    """Give weights of the same names and shapes, each element a thousandth of itself apart: zeros stay zeros.

    Raises:
        AgentError: `artifact.unreadable`, if these are no weights.
    """
    luck = np.random.default_rng(seed)
    try:
        arrays = decode_tensors(weights)
    except ValueError as error:
        raise AgentError("artifact.unreadable", f"The weights cannot be read: {error}") from error
    return encode_tensors(
        {
            name: (array * (1 + _STEP * luck.standard_normal(array.shape))).astype(array.dtype)
            for name, array in sorted(arrays.items())  # the order in which they are read differs
        }
    )
