"""Drift as the serving process notices it: without labels, to the sample."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from agent.monitors import Watch
from agent.serving import Server
from shoal.wire.incremental import DriftMonitor
from tests.models import golden_of, linear_onnx, samples

MONITOR = DriftMonitor(policy_id="p", model="digits")


def watch(confidences: np.ndarray) -> Watch:  # type: ignore[type-arg]
    found = Watch(MONITOR)
    for number, confidence in enumerate(confidences, start=1):
        found.look(float(confidence), number)
    return found


def clean(seed: int, count: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).beta(8, 2, count)


def test_streams_when_clean_then_hardly_any_raises_an_alarm() -> None:
    alarms = [seed for seed in range(50) if watch(clean(seed, 400)).crossing is not None]
    assert len(alarms) <= 2  # 2 of 100 streams of 400 samples, as `shoal.training.drift` says


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 6, 7])
def test_stream_when_it_shifts_then_is_noticed_once_at_the_sample_that_crossed(seed: int) -> None:
    shifted = np.concatenate([clean(seed, 400), np.full(200, 0.3)])
    found = watch(shifted).crossing
    assert found is not None
    assert 400 < found["samples"] < 460
    assert found["population_stability_index"] > MONITOR.threshold
    assert watch(shifted[: found["samples"] - 1]).crossing is None
    assert watch(shifted[: found["samples"]]).crossing is not None


# ---------------------------------------------------------------- with a model that serves

LINEAR = DriftMonitor(policy_id="p", model="linear", reference_samples=64, window=32)
CLEAR = samples(32)  # as many as the window: in whatever turn they stand, the same ones are compared
UNCLEAR = np.full((32, 4), 0.1, np.float32)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    (tmp_path / "model").write_bytes(linear_onnx())
    (tmp_path / "golden").write_bytes(golden_of())
    server = Server()
    load(server, tmp_path, 1)
    return server


def load(server: Server, folder: Path, version: int) -> None:
    asyncio.run(
        server.load(
            model="linear",
            version=version,
            runtime="onnxruntime",
            path=str(folder / "model"),
            golden=str(folder / "golden"),
            class_labels=["a", "b", "c"],
        )
    )


def set_monitors(server: Server, *monitors: DriftMonitor) -> None:
    asyncio.run(server.watch(monitors=msgspec.to_builtins(list(monitors))))


def figures(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asyncio.run(server.monitors())["monitors"]
    return found


def ask(server: Server, x: np.ndarray) -> None:  # type: ignore[type-arg]
    body = {"inputs": [{"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]}

    async def post() -> None:
        transport = httpx.ASGITransport(server.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://device") as client:
            answer = await client.post("/v2/models/linear/infer", json=body)
            assert answer.status_code == 200, answer.text

    asyncio.run(post())


def test_monitor_when_batches_come_then_counts_each_sample_and_names_the_one_that_crossed(server: Server) -> None:
    set_monitors(server, LINEAR)
    for _ in range(3):
        ask(server, CLEAR)
    (before,) = figures(server)
    assert (before["samples"], before["version"], before["crossing"]) == (96, 1, None)
    assert before["population_stability_index"] < 0.01
    ask(server, UNCLEAR)
    (after,) = figures(server)
    assert after["samples"] == 128
    assert 96 < after["crossing"]["samples"] < 128
    ask(server, UNCLEAR)
    assert figures(server)[0]["crossing"] == after["crossing"]


def test_monitor_when_a_version_is_loaded_then_begins_anew(server: Server, tmp_path: Path) -> None:
    set_monitors(server, LINEAR)
    for x in (CLEAR, CLEAR, CLEAR, UNCLEAR):
        ask(server, x)
    load(server, tmp_path, 2)
    (found,) = figures(server)
    assert (found["version"], found["samples"], found["crossing"]) == (2, 0, None)


def test_monitor_when_set_again_then_goes_on_and_when_changed_begins_anew(server: Server) -> None:
    set_monitors(server, LINEAR)
    for x in (CLEAR, CLEAR, CLEAR):
        ask(server, x)
    set_monitors(server, LINEAR)
    assert figures(server)[0]["population_stability_index"] is not None
    set_monitors(server, msgspec.structs.replace(LINEAR, threshold=0.5))
    assert figures(server)[0]["population_stability_index"] is None
    set_monitors(server)
    assert figures(server) == []
