"""The serving process as the agent sees it: started when there is something to serve, asked for figures.

The process itself is `agent.serving`; a variant is tried in a process of its own before.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.journal import Journal
from agent.processes import Child
from agent.settings import Settings
from shoal.wire.incremental import DriftMonitor
from shoal.wire.rollouts import DesiredVariant, GoldenResult

_log: Final = logging.getLogger(__name__)
_LOAD_TIMEOUT_S: Final = 120.0


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the serving process says of a variant that it loaded."""

    sha256: str
    runtime_version: str
    golden: dict[str, Any]

    def golden_result(self) -> GoldenResult:
        """Give the golden set's figures as a receipt has them."""
        return msgspec.convert(self.golden, GoldenResult)

    def latency_p50_ms(self) -> float:
        """Give the median of the golden set's inferences."""
        return float(self.golden["latency_p50_ms"])


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """The inference that made a monitor cross its threshold.

    Attributes:
        samples: Inferences since the version was loaded, this one included.
        population_stability_index: Of the window that ends with it.
        at: The device's wall clock, ISO 8601 UTC.
    """

    samples: int
    population_stability_index: float
    at: str


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """How a monitor of a model that serves stands.

    Attributes:
        samples: Inferences since the version was loaded.
        population_stability_index: Of the last window; None until reference and window are full.
        crossing: The first one of this version.
    """

    policy_id: str
    model: str
    version: int
    samples: int
    population_stability_index: float | None
    threshold: float
    crossing: Crossing | None


class Inference:
    """The serving process."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._options_of = settings.options_of
        self._host = settings.inference_host
        self._port = settings.inference_port or _kept_port(self._host, journal)
        self._child: Child | None = None
        self._started = asyncio.Event()
        self.monitors: list[DriftMonitor] = []

    @property
    def url(self) -> str:
        """Where the Open Inference Protocol is answered."""
        return f"http://{self._host}:{self._port}"

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.is_running

    async def load(self, variant: DesiredVariant, path: Path, golden: Path) -> Loaded:
        """Let a variant serve, if its golden set passes in the serving process.

        Raises:
            AgentError: `process.crashed`, `process.hung`, `process.not_started`, `model.not_loadable`, ...
        """
        child = await self._running()
        answer = await child.ask(
            "load",
            timeout_s=_LOAD_TIMEOUT_S,
            model=variant.model,
            version=variant.version,
            runtime=variant.runtime,
            path=str(path),
            golden=str(golden),
            class_labels=variant.class_labels,
            task=variant.task,
            signature=msgspec.to_builtins(variant.signature),
            preprocessing=msgspec.to_builtins(variant.preprocessing),
            options=self._options_of(variant.runtime),
        )
        return msgspec.convert(answer, Loaded)

    async def unload(self, model: str) -> None:
        """Stop serving a model."""
        if self._child is not None and self._child.is_running:
            await self._child.ask("unload", timeout_s=30, model=model)

    async def watch(self, monitors: list[DriftMonitor]) -> None:
        """Watch for drift by these monitors, in a process that is started later too."""
        self.monitors = list(monitors)
        if self._child is not None and self._child.is_running:
            await self._tell_monitors(self._child)

    async def watched(self) -> list[Watched]:
        """Give how the monitors stand; none while the process does not run."""
        if self._child is None or not self._child.is_running:
            return []
        return msgspec.convert((await self._child.ask("monitors", timeout_s=10))["monitors"], list[Watched])

    async def figures(self) -> list[dict[str, Any]]:
        """Give the counts of the models that serve; none while the process does not run."""
        if self._child is None or not self._child.is_running:
            return []
        models: list[dict[str, Any]] = (await self._child.ask("figures", timeout_s=10))["models"]
        return models

    async def crashed(self) -> None:
        """Wait until the process ends by itself."""
        while not self.is_running:
            self._started.clear()
            await self._started.wait()
        child = self._child
        assert child is not None
        status = await child.wait()
        _log.error("the serving process ended with status %s", status)

    async def stop(self) -> None:
        """End the process."""
        if self._child is not None:
            await self._child.stop()

    async def _running(self) -> Child:
        if self._child is None or not self._child.is_running:
            child = Child("agent.serving", "--host", self._host, "--port", str(self._port))
            await child.start()
            await self._tell_monitors(child)
            self._child = child
            self._started.set()
        return self._child

    async def _tell_monitors(self, child: Child) -> None:
        await child.ask("watch", timeout_s=10, monitors=msgspec.to_builtins(self.monitors))


async def try_variant(
    variant: DesiredVariant, path: Path, golden: Path, *, options_of: Callable[[str], Mapping[str, str]]
) -> GoldenResult:
    """Load a variant in a process of its own and run its golden set: what crashes there harms nobody.

    Args:
        options_of: Gives a runtime's options on this machine.

    Raises:
        AgentError: As `Child.ask`.
    """
    trial = Child("shoal.runtimes.runner")
    try:
        await trial.start()
        await trial.ask(
            "load",
            timeout_s=_LOAD_TIMEOUT_S,
            runtime=variant.runtime,
            path=str(path),
            signature=msgspec.to_builtins(variant.signature),
            options=dict(options_of(variant.runtime)),
        )
        answer = await trial.ask("golden", timeout_s=_LOAD_TIMEOUT_S, path=str(golden), task=variant.task)
        return msgspec.convert(answer, GoldenResult)
    finally:
        await trial.stop()


def _kept_port(host: str, journal: Journal) -> int:
    """Give a port that was free when first asked, and is kept, so that clients find the device where it was."""
    kept = journal.get("inference_port")
    if kept is not None:
        return int(kept)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = int(probe.getsockname()[1])
    journal.put("inference_port", str(port).encode())
    return port
