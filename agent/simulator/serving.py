"""What serves on a virtual device: nothing is loaded, but it takes its time, is proven, and may fail or drift."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.errors import AgentError
from agent.inference import Loaded
from agent.outbox import Outbox
from agent.simulator import curves
from agent.simulator.chances import Chances
from agent.simulator.population import Machine
from agent.simulator.profile import Profile
from shoal.wire.incremental import DriftMonitor, Evidence
from shoal.wire.rollouts import DesiredVariant, GoldenResult

_GOLDEN_SAMPLES = 32


class VirtualServing:
    """The variants that a virtual device serves."""

    def __init__(self, machine: Machine, profile: Profile, chances: Chances, outbox: Outbox) -> None:
        self._machine = machine
        self._profile = profile
        self._chances = chances
        self._outbox = outbox
        self._versions: dict[str, int] = {}
        self._watched: dict[tuple[str, int], asyncio.TimerHandle | None] = {}  # policy and version
        self.monitors: list[DriftMonitor] = []

    @property
    def models(self) -> tuple[str, ...]:
        """The models that serve."""
        return tuple(sorted(self._versions))

    async def attempt(self, variant: DesiredVariant, _path: Path, _golden: Path) -> GoldenResult:
        """Try a variant.

        Raises:
            AgentError: `runtime.missing`, or what the profile lets happen.
        """
        await asyncio.sleep(self._chances.duration_s(self._profile.trial_s))
        if variant.runtime not in self._machine.facts.runtimes:
            raise AgentError("runtime.missing", f"{variant.runtime} is not installed on this device.")
        self._chances.trial()
        return self._golden()

    async def load(self, variant: DesiredVariant, _path: Path, _golden: Path) -> Loaded:
        """Let a variant serve."""
        await asyncio.sleep(self._chances.duration_s(self._profile.load_s))
        self._versions[variant.model] = variant.version
        self._look_out()
        latency = curves.latency_ms(self._machine) * self._chances.duration_s(1.0)
        return Loaded(
            sha256=variant.artifact.sha256,
            runtime_version=self._machine.facts.runtimes.get(variant.runtime, ""),
            golden={**msgspec.to_builtins(self._golden()), "latency_p50_ms": round(latency, 3)},
        )

    async def unload(self, model: str) -> None:
        """Stop serving a model."""
        self._versions.pop(model, None)

    async def watch(self, monitors: list[DriftMonitor]) -> None:
        """Watch for drift by these monitors."""
        self.monitors = list(monitors)
        self._look_out()

    def close(self) -> None:
        """Watch no more."""
        for handle in self._watched.values():
            if handle is not None:
                handle.cancel()

    def _golden(self) -> GoldenResult:
        error = abs(self._chances.around(0, 2e-4))
        return GoldenResult(samples=_GOLDEN_SAMPLES, agreement=1.0, max_abs_error=error, passed=True)

    def _look_out(self) -> None:
        """Draw for each model that is watched from now on whether it drifts, and when."""
        for monitor in self.monitors:
            version = self._versions.get(monitor.model)
            if version is None or (monitor.policy_id, version) in self._watched:
                continue
            handle = None
            if self._chances.happens(self._profile.drift_ratio):
                delay_s = self._chances.duration_s(self._profile.drift_s)
                handle = asyncio.get_running_loop().call_later(delay_s, self._say_drift, monitor, version)
            self._watched[monitor.policy_id, version] = handle

    def _say_drift(self, monitor: DriftMonitor, version: int) -> None:
        if self._versions.get(monitor.model) != version or monitor not in self.monitors:
            return
        samples = monitor.reference_samples + monitor.window + self._chances.number(0, 500)
        index = round(monitor.threshold * (1 + abs(self._chances.around(0.2, 0.2))) + 1e-3, 4)
        self._outbox.add(
            "event",
            lambda stamp: Evidence(
                id=stamp.id,
                session=stamp.session,
                sequence=stamp.sequence,
                policy_id=monitor.policy_id,
                model=monitor.model,
                version=version,
                samples=samples,
                population_stability_index=index,
                drift_detected=True,
                noticed_at=datetime.now(UTC).isoformat(),
            ),
        )
