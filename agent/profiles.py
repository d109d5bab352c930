"""Measures a variant on this device, in a process of its own: nothing that serves is touched.

Its files stand in a folder of their own and go when the last measurement ends; what the device has already is linked.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.artifacts import ArtifactStore
from agent.door import Door, patiently
from agent.errors import AgentError
from agent.executions import NeverDone, Tell
from agent.hardware import meters
from agent.hardware.draw import Draw
from agent.learning import read_spec
from agent.processes import Child
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import Offer
from shoal.wire.profiles import ProfileResult, ProfileSpec
from shoal.wire.rollouts import DesiredVariant, GoldenResult

_LOOK_S: Final = 0.1
_LOAD_TIMEOUT_S: Final = 300.0
_PROFILE_TIMEOUT_S: Final = 86_400.0  # the offer's own timeout is the shorter one


class Profiles:
    """Measurements.

    Args:
        folder: Of what is fetched for them.
        held: What the device has for serving; only read.
        runtimes: What the device offers now, name to version.
        options_of: Gives a runtime's options on this machine.
        root: The root folder of the machine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        held: ArtifactStore,
        door: Callable[[], Door],
        runtimes: Callable[[], Mapping[str, str]],
        options_of: Callable[[str], Mapping[str, str]],
        root: Path = Path("/"),
    ) -> None:
        self._store = ArtifactStore(folder)
        self._held = held
        self._door = door
        self._runtimes = runtimes
        self._options_of = options_of
        self._root = root
        self._used: dict[str, set[str]] = {}  # execution -> digests that it needs

    async def measure(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        """Fetch a variant and measure it; gives the `ProfileResult`.

        Raises:
            NeverDone: `execution.malformed`, `runtime.missing`.
            AgentError: Why there are no figures.
        """
        spec = read_spec(offer, ProfileSpec)
        variant = spec.variant
        if variant.runtime not in self._runtimes():
            raise NeverDone("runtime.missing", f"This device does not offer {variant.runtime[:40]}.")
        async with self._files(offer.execution_id):
            path = await self._fetch(offer.execution_id, variant.artifact, lambda share: tell(0.5 * share, "fetching"))
            golden = await self._fetch(offer.execution_id, variant.golden, lambda _share: None)
            tell(0.5, "loading")
            runner = Child("shoal.runtimes.runner")
            try:
                await runner.start()
                told = _told(variant, spec.threads, self._options_of(variant.runtime))
                loaded = await runner.ask("load", timeout_s=_LOAD_TIMEOUT_S, path=str(path), **told)
                if loaded["sha256"] != variant.artifact.sha256:
                    message = "The file that was loaded is not the one that was asked for; the disk may be failing."
                    raise AgentError("artifact.digest_mismatch", message)
                tell(0.6, "measuring")
                result = await self._measured(runner, spec, golden)
            finally:
                await runner.stop()
        return dict(msgspec.to_builtins(result))

    def forget(self) -> None:
        """Drop all files: nothing is open, and whatever a kill left is of no use."""
        self._store.forget_unnamed(())

    async def _measured(self, runner: Child, spec: ProfileSpec, golden: Path) -> ProfileResult:
        before_c = self._hottest_celsius()
        draw = Draw(root=self._root)
        looking = asyncio.create_task(_look(draw))
        try:
            told = await runner.ask(
                "profile",
                timeout_s=_PROFILE_TIMEOUT_S,
                golden=str(golden),
                task=spec.variant.task,
                runs=spec.runs,
                warm_up=spec.warm_up,
            )
        finally:
            looking.cancel()
        watts = draw.mean_watts()
        each_s = told["duration_s"] / max(told["runs"], 1)
        return ProfileResult(
            golden=msgspec.convert(told["golden"], GoldenResult),
            runtime_version=str(told["runtime_version"]),
            runs=told["runs"],
            threads=told["threads"],
            latency_p50_ms=told["latency_p50_ms"],
            latency_p95_ms=told["latency_p95_ms"],
            latency_p99_ms=told["latency_p99_ms"],
            load_s=told["load_s"],
            peak_memory_bytes=told["peak_memory_bytes"],
            energy_j=None if watts is None else watts * each_s,
            temperature_before_c=before_c,
            temperature_after_c=self._hottest_celsius(),
        )

    @contextlib.asynccontextmanager
    async def _files(self, execution_id: str) -> AsyncIterator[None]:
        self._used[execution_id] = set()
        try:
            yield
        except asyncio.CancelledError:
            del self._used[execution_id]
            raise  # where the agent ends it goes on after the next start, with what is there
        except BaseException:
            self._forget(execution_id)
            raise
        self._forget(execution_id)

    def _forget(self, execution_id: str) -> None:
        del self._used[execution_id]
        self._store.forget_unnamed({sha256 for needed in self._used.values() for sha256 in needed})

    async def _fetch(self, execution_id: str, ref: ArtifactRef, progress: Callable[[float], None]) -> Path:
        """Give an artifact, fetched for as long as the controller is only unreachable."""
        self._used[execution_id].add(ref.sha256)
        # A file has its name after its bytes were hashed: what serves needs no second look.
        with contextlib.suppress(OSError):
            os.link(self._held.path(ref.sha256), self._store.path(ref.sha256))
        loop = asyncio.get_running_loop()

        def tell(share: float) -> None:
            loop.call_soon_threadsafe(progress, share)

        return await patiently(lambda: self._store.fetch(ref, self._door(), tell))

    def _hottest_celsius(self) -> float | None:
        return max(meters.temperatures_celsius(root=self._root).values(), default=None)


def _told(variant: DesiredVariant, threads: int, options: Mapping[str, str]) -> dict[str, Any]:
    """Give what a load says of a variant; without threads the runner's own default, which serving has too."""
    told: dict[str, Any] = {"runtime": variant.runtime, "options": dict(options)}
    if variant.signature is not None:
        told["signature"] = msgspec.to_builtins(variant.signature)
    return told if not threads else {**told, "threads": threads}


async def _look(draw: Draw) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        draw.look()
