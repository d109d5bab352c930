"""Makes the device run what is desired, and proves it: fetch, try, serve, receipt.

Each failure is reported by name and leaves what served before serving.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Final, Protocol

import msgspec

from agent.door import Door, patiently
from agent.errors import AgentError
from agent.inference import Loaded
from agent.journal import HeldSlot, Journal
from agent.outbox import Outbox
from agent.steps import Held, Step, StepKind, next_step
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import ReportState
from shoal.wire.incremental import DriftMonitor
from shoal.wire.rollouts import Desired, DesiredVariant, GoldenResult, Receipt, Reported, SlotReport, SlotState

Trial = Callable[[DesiredVariant, Path, Path], Awaitable[GoldenResult]]
_log: Final = logging.getLogger(__name__)
_PROGRESS_INTERVAL_S: Final = 1.0


class Store(Protocol):
    """Where artifacts are kept, as `ArtifactStore`."""

    def path(self, sha256: str) -> Path:
        """Give where an artifact stands."""

    def fetch(self, ref: ArtifactRef, door: Door, progress: Callable[[float], None]) -> Path:
        """Give an artifact, fetching what is missing of it. Blocking."""

    def forget_unnamed(self, named: Collection[str]) -> None:
        """Drop what nothing names any more."""


class Serving(Protocol):
    """What loads variants and serves them, as `Inference`."""

    monitors: list[DriftMonitor]

    async def load(self, variant: DesiredVariant, path: Path, golden: Path) -> Loaded:
        """Let a variant serve, if its golden set passes in the serving process."""

    async def unload(self, model: str) -> None:
        """Stop serving a model."""

    async def watch(self, monitors: list[DriftMonitor]) -> None:
        """Watch the confidence of models."""


class Rollouts:
    """Installs variants."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        inference: Serving,
        outbox: Outbox,
        door: Callable[[], Door],
        trial: Trial,
    ) -> None:
        self._journal = journal
        self._store = store
        self._inference = inference
        self._outbox = outbox
        self._door = door
        self._trial = trial
        self._reported = (-1, -1)  # (epoch, version) of the desired document that was reported on last
        self._proven: dict[str, tuple[str, int]] = {}  # model -> execution and attempt of this process's last receipt
        held = journal.get("desired")
        self.desired = Desired(epoch=0, version=0) if held is None else msgspec.json.decode(held, type=Desired)

    def accept(self, desired: Desired) -> bool:
        """Journal a newer desired document; False for one that is not newer (a replay, or one sent again)."""
        if (desired.epoch, desired.version) <= (self.desired.epoch, self.desired.version):
            return False
        self._journal.put("desired", msgspec.json.encode(desired))
        self.desired = desired
        return True

    def plan(self) -> Step | None:
        """Give the next step."""
        held = Held(
            slots=self._journal.slots(),
            proven=self._proven,
            monitors=self._inference.monitors,
            reported=self._reported,
        )
        return next_step(self.desired, held)

    async def run(self, step: Step) -> None:
        """Do a step; what goes wrong in it is reported, not raised."""
        if step.kind is StepKind.WATCH:
            await self._inference.watch(self.desired.monitors)
        elif step.variant is not None:
            await self._move(step.kind, step.variant)
        self._store.forget_unnamed(self._named())
        self.report()

    async def _move(self, kind: StepKind, variant: DesiredVariant) -> None:
        if kind is StepKind.REMOVE:
            await self._inference.unload(variant.model)
            self._journal.set_slots(variant.model, [])
            self._proven.pop(variant.model, None)
        elif kind is StepKind.PROVE:
            await self._prove(variant)
        else:
            await self._install(variant)

    def serving_ended(self) -> None:
        """The serving process is gone: whatever served has to be loaded and proven again."""
        self._proven.clear()

    def report(self) -> None:
        """Say what the device holds."""
        slots = [
            SlotReport(
                model=held.variant.model,
                slot=held.slot,
                state=held.state,
                version=held.variant.version,
                variant_id=held.variant.variant_id,
                runtime=held.variant.runtime,
                sha256=held.variant.artifact.sha256,
                code=held.code,
                message=held.message,
            )
            for held in self._journal.slots()
        ]
        epoch, version = self._reported = self.desired.epoch, self.desired.version
        self._outbox.add(
            "reported",
            lambda stamp: Reported(
                id=stamp.id, session=stamp.session, sequence=stamp.sequence, epoch=epoch, version=version, slots=slots
            ),
        )

    async def _install(self, variant: DesiredVariant) -> None:
        slot = self._free_slot(variant.model)
        try:
            self._hold(HeldSlot(slot=slot, state=SlotState.DOWNLOADING, variant=variant))
            await self._fetch(variant, variant.artifact, 0.0, 0.7)
            await self._fetch(variant, variant.golden, 0.7, 0.75)
            self._hold(HeldSlot(slot=slot, state=SlotState.TRIAL, variant=variant))
            self._progress(variant, 0.8, "trying it beside what serves")
            paths = self._store.path(variant.artifact.sha256), self._store.path(variant.golden.sha256)
            tried = await self._trial(variant, *paths)
            if not tried.passed:
                raise AgentError("golden.failed", f"{tried.agreement:.0%} of the golden set came out as expected.")
            loaded = await self._inference.load(variant, *paths)
            if not loaded.golden_result().passed:
                raise AgentError("golden.failed", "The golden set failed in the serving process.")
        except AgentError as error:
            _log.error("%s/%s could not be installed: %s", variant.model, variant.version, error)
            self._fail(slot, variant, error)
            return
        self._serve(slot, variant)
        self._send_receipt(slot, variant, loaded, is_fallback=False)

    async def _prove(self, variant: DesiredVariant) -> None:
        """Load what the journal says is serving, and send a receipt; where it fails, fall back to the other slot."""
        held = self._journal.slots(variant.model)
        serving = next(slot for slot in held if slot.state is SlotState.SERVING)
        wanted = next((one for one in self.desired.variants if one.model == variant.model), variant)
        candidates = [serving, *(slot for slot in held if slot.state is SlotState.STANDBY)]
        for candidate in candidates:
            is_desired = candidate.variant.variant_id == wanted.variant_id
            target = wanted if is_desired else candidate.variant
            try:
                paths = (
                    await self._fetch(target, target.artifact, 0.0, 0.0),
                    await self._fetch(target, target.golden, 0.0, 0.0),
                )
                loaded = await self._inference.load(target, *paths)
                if not loaded.golden_result().passed:
                    raise AgentError("golden.failed", "The golden set failed in the serving process.")
            except AgentError as error:
                _log.error("%s/%s does not load any more: %s", target.model, target.version, error)
                self._fail(candidate.slot, target, error)
                continue
            self._serve(candidate.slot, target)
            self._send_receipt(candidate.slot, target, loaded, is_fallback=not is_desired)
            return

    async def _fetch(self, variant: DesiredVariant, ref: ArtifactRef, start: float, end: float) -> Path:
        """Fetch an artifact, for as long as the controller is only unreachable."""
        loop = asyncio.get_running_loop()
        told_at = 0.0

        def progress(share: float) -> None:
            nonlocal told_at
            if end > start and (now := time.monotonic()) - told_at >= _PROGRESS_INTERVAL_S:
                told_at = now
                at = start + share * (end - start)
                loop.call_soon_threadsafe(self._progress, variant, at, "downloading")

        return await patiently(lambda: self._store.fetch(ref, self._door(), progress))

    def _free_slot(self, model: str) -> str:
        serving = {slot.slot for slot in self._journal.slots(model) if slot.state is SlotState.SERVING}
        return "b" if "a" in serving else "a"

    def _hold(self, held: HeldSlot) -> None:
        """Put a slot into the journal; what else was in the same slot goes."""
        others = [slot for slot in self._journal.slots(held.variant.model) if slot.slot != held.slot]
        self._journal.set_slots(held.variant.model, [*others, held])
        self.report()

    def _serve(self, slot: str, variant: DesiredVariant) -> None:
        before = [held for held in self._journal.slots(variant.model) if held.slot != slot]
        standby = [
            msgspec.structs.replace(held, state=SlotState.STANDBY) if held.state is SlotState.SERVING else held
            for held in before
        ]
        serving = HeldSlot(slot=slot, state=SlotState.SERVING, variant=variant)
        self._journal.set_slots(variant.model, [*standby, serving])

    def _fail(self, slot: str, variant: DesiredVariant, error: AgentError) -> None:
        message = str(error)[:2000]
        self._hold(HeldSlot(slot=slot, state=SlotState.FAILED, variant=variant, code=error.code, message=message))
        self._say(variant, ReportState.FAILED, 0.0, error.code, message)

    def _progress(self, variant: DesiredVariant, share: float, message: str) -> None:
        self._say(variant, ReportState.IN_PROGRESS, share, "", message)

    def _say(self, variant: DesiredVariant, state: ReportState, share: float, code: str, message: str) -> None:
        if variant.execution_id:
            self._outbox.report(
                variant.execution_id, variant.attempt, state, progress=share, code=code, message=message
            )

    def _send_receipt(self, slot: str, variant: DesiredVariant, loaded: Loaded, *, is_fallback: bool) -> None:
        self._outbox.add(
            "reported",
            lambda stamp: Receipt(
                id=stamp.id,
                session=stamp.session,
                sequence=stamp.sequence,
                boot_id=stamp.boot_id,
                model=variant.model,
                version=variant.version,
                variant_id=variant.variant_id,
                slot=slot,
                runtime=variant.runtime,
                runtime_version=loaded.runtime_version,
                sha256=loaded.sha256,
                golden=loaded.golden_result(),
                latency_p50_ms=loaded.latency_p50_ms(),
                execution_id=variant.execution_id,
                is_fallback=is_fallback,
                at=stamp.at,
            ),
        )
        self._proven[variant.model] = (variant.execution_id, variant.attempt)

    def _named(self) -> set[str]:
        variants = [*self.desired.variants, *(held.variant for held in self._journal.slots())]
        return {ref.sha256 for variant in variants for ref in (variant.artifact, variant.golden)}
