"""Drift on a device, from inferences over HTTP to the evidence in the outbox: to the sample, anew for each version."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.incremental import Incremental
from agent.inference import Inference
from agent.journal import Journal
from agent.learning import Learning
from agent.monitors import confidences
from agent.outbox import Outbox
from agent.settings import Settings
from shoal.training.drift import PopulationStability
from shoal.wire.devices import ArtifactRef
from shoal.wire.envelope import Envelope
from shoal.wire.incremental import DriftMonitor, Evidence
from shoal.wire.rollouts import DesiredVariant
from tests.models import golden_of, linear_onnx, samples

MONITOR = DriftMonitor(policy_id="p", model="linear", reference_samples=64, window=32)
CLEAR = samples(32)  # as many as the window: wherever it stands, it holds the same ones as the reference
UNCLEAR = np.full((5, 4), 0.1, np.float32)
CLEAN_BATCHES = 4  # the reference, then two windows


class Rig:
    """A serving process whose monitors are looked at."""

    def __init__(self, folder: Path, journal: Journal, outbox: Outbox) -> None:
        self.inference = Inference(Settings(state=folder), journal)
        self.incremental = Incremental(
            learning=Learning(folder / "learning", folder / "data", no_door), inference=self.inference, outbox=outbox
        )
        self._journal = journal
        self._folder = folder
        (folder / "model").write_bytes(linear_onnx())
        (folder / "golden").write_bytes(golden_of())

    async def load(self, version: int) -> None:
        ref = ArtifactRef(sha256="0" * 64, size_bytes=1)
        variant = DesiredVariant(
            model="linear",
            version=version,
            variant_id=f"v{version}",
            recipe="fp32",
            runtime="onnxruntime",
            artifact=ref,
            golden=ref,
        )
        loaded = await self.inference.load(variant, self._folder / "model", self._folder / "golden")
        assert loaded.golden_result().passed

    async def infer(self, x: NDArray[np.float32]) -> list[float]:
        """Give the confidences of the answer, as the device saw them."""
        body = {"inputs": [{"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]}
        async with httpx.AsyncClient(base_url=self.inference.url) as client:
            answer = await client.post("/v2/models/linear/infer", json=body)
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        return confidences(np.asarray(output["data"], np.float32).reshape(output["shape"]))

    async def clean_stream(self) -> list[float]:
        return [one for _ in range(CLEAN_BATCHES) for one in await self.infer(CLEAR)]

    async def shifted_stream(self) -> list[float]:
        return [one for _ in range(4) for one in await self.infer(UNCLEAR)]

    def evidence(self) -> list[Evidence]:
        found = [message for message in self._journal.messages(limit=1000) if message.channel == "event"]
        bodies = [msgspec.json.decode(message.payload, type=Envelope).body for message in found]
        return [msgspec.json.decode(body, type=Evidence) for body in bodies]

    async def has_evidence(self, count: int) -> None:
        while len(self.evidence()) < count:
            await asyncio.sleep(0.01)


def no_door() -> Any:
    raise AssertionError("drift is noticed without the controller")


def crossing_of(stream: list[float]) -> int:
    """Give the sample, counted from 1, with which a stream's index first exceeds the threshold."""
    stability = PopulationStability(MONITOR.reference_samples, MONITOR.window, MONITOR.bins)
    indices = [stability.update(confidence) or 0.0 for confidence in stream]
    return 1 + next(number for number, index in enumerate(indices) if index > MONITOR.threshold)


@pytest.fixture
def rig(journal: Journal, outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr("agent.incremental._LOOK_INTERVAL_S", 0.02)
    return Rig(tmp_path / "device", journal, outbox)


def run(rig: Rig, story: Callable[[], Awaitable[None]]) -> None:
    async def watched() -> None:
        watching = asyncio.create_task(rig.incremental.watch())
        try:
            async with asyncio.timeout(60):
                await story()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await rig.inference.stop()

    asyncio.run(watched())


def test_stream_when_it_shifts_then_one_evidence_names_the_very_sample(rig: Rig) -> None:
    async def story() -> None:
        await rig.inference.watch([MONITOR])
        await rig.load(1)
        stream = await rig.clean_stream()
        before = len(stream)
        stream += await rig.shifted_stream()
        await rig.has_evidence(1)
        await rig.shifted_stream()
        (found,) = rig.evidence()
        assert before < found.samples <= len(stream)
        assert (found.policy_id, found.model, found.version, found.samples, found.drift_detected) == (
            "p",
            "linear",
            1,
            crossing_of(stream),
            True,
        )
        assert found.population_stability_index > MONITOR.threshold

    run(rig, story)


def test_version_when_loaded_then_is_watched_anew_with_a_reference_of_its_own(rig: Rig) -> None:
    async def story() -> None:
        await rig.inference.watch([MONITOR])
        await rig.load(1)
        await rig.clean_stream()
        await rig.shifted_stream()
        await rig.has_evidence(1)
        await rig.load(2)
        # Version 2 has never seen anything else than what was a shift to version 1.
        for _ in range(25):
            await rig.infer(UNCLEAR)
        await rig.load(3)
        stream = [*await rig.clean_stream(), *await rig.shifted_stream()]
        await rig.has_evidence(2)
        first, second = rig.evidence()
        assert (first.version, second.version) == (1, 3)
        assert second.samples == crossing_of(stream)

    run(rig, story)
