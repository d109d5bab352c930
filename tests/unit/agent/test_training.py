"""The training process: a real child with a real program, however the requests end."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from agent.errors import AgentError
from agent.processes import Child
from shoal.training.dataset import write_shard
from shoal.training.programs import ProgramFiles, export_programs, read_weights
from shoal.wire.tensors import encode_tensors

SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def files() -> ProgramFiles:
    torch.manual_seed(0)
    return export_programs(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(2, 4))


def samples(count: int, seed: int) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return x, x[:, :3].argmax(1).astype(np.int64)


class Rig:
    """A child and its files."""

    def __init__(self, folder: Path, files: ProgramFiles) -> None:
        self.folder = folder
        self.child = Child("agent.training")
        for name, data in (
            ("train", files.train_program),
            ("eval", files.eval_program),
            ("weights", files.weights),
            ("garbage", b"no program"),
        ):
            (folder / name).write_bytes(data)

    def program(self, name: str) -> dict[str, str]:
        path = self.folder / name
        return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    async def train(self, *, output: str = "update", epochs: int = 2, **others: Any) -> dict[str, Any]:
        request = {
            "program": self.program("train"),
            "weights": str(self.folder / "weights"),
            "dataset": str(self.folder / "data"),
            "output": str(self.folder / output),
            "epochs": epochs,
            "batch_size": 16,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "seed": 1,
        }
        return await self.child.ask("train", timeout_s=60, **(request | others))


@pytest.fixture
def rig(tmp_path: Path, files: ProgramFiles) -> Rig:
    write_shard(tmp_path / "data", *samples(64, 0))
    return Rig(tmp_path, files)


def run(rig: Rig, story: Callable[[], Awaitable[None]]) -> None:
    async def started() -> None:
        await rig.child.start()
        try:
            await story()
        finally:
            await rig.child.stop()

    asyncio.run(started())


def test_update_when_trained_twice_from_one_seed_then_is_bitwise_the_same(rig: Rig, files: ProgramFiles) -> None:
    shares: list[float] = []

    async def story() -> None:
        first = await rig.train(on_progress=shares.append)
        again = await rig.train(output="again")
        other = await rig.train(output="other", seed=2)
        assert first["sha256"] == again["sha256"] != other["sha256"]
        assert first["examples"] == 64
        written = (rig.folder / "update").read_bytes()
        assert (hashlib.sha256(written).hexdigest(), len(written)) == (first["sha256"], first["size_bytes"])
        assert read_weights(written).keys() == read_weights(files.weights).keys()

    run(rig, story)
    assert shares
    assert all(0 < share <= 1 for share in shares)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"program": {"path": "garbage", "sha256": hashlib.sha256(b"no program").hexdigest()}}, "program.not_loadable"),
        ({"program": {"path": "garbage", "sha256": "0" * 64}}, "artifact.digest_mismatch"),
        ({"weights": "other-weights"}, "weights.mismatch"),
        ({"weights": "garbage"}, "tensors.malformed"),
        ({"weights": "nowhere"}, "artifact.unreadable"),
        ({"dataset": "empty"}, "dataset.empty"),
        ({"dataset": "nowhere"}, "dataset.not_found"),
        ({"dataset": "wide"}, "program.failed"),
        ({"epochs": None}, "request.invalid"),
    ],
)
def test_training_when_something_is_wrong_then_is_named_and_the_process_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], code: str
) -> None:
    monkeypatch.chdir(rig.folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    (rig.folder / "other-weights").write_bytes(encode_tensors({"w": np.zeros(1, np.float32)}))
    write_shard(rig.folder / "empty", np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    write_shard(rig.folder / "wide", np.zeros((4, 9), np.float32), np.zeros(4, np.int64))

    async def story() -> None:
        with pytest.raises(AgentError) as caught:
            await rig.train(**changes)
        assert caught.value.code == code
        assert (await rig.train())["examples"] == 64

    run(rig, story)


def test_fine_tuning_when_done_then_both_accuracies_are_measured(rig: Rig, files: ProgramFiles) -> None:
    x, y = samples(60, 1)
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    kept = samples(90, 2)
    (rig.folder / "kept").write_bytes(encode_tensors({"x": kept[0], "y": kept[1]}))

    async def story() -> None:
        trained = await rig.train(output="trained", epochs=60)
        assert trained["loss"] < 0.5
        write_shard(rig.folder / "data", -x, y, at=np.full(60, now_us, np.int64))
        counted = await rig.child.ask("count", timeout_s=10, dataset=str(rig.folder / "data"), since=SINCE.isoformat())
        assert counted["samples"] == 60
        told = await rig.child.ask(
            "fine_tune",
            timeout_s=60,
            train_program=rig.program("train"),
            eval_program=rig.program("eval"),
            weights=str(rig.folder / "trained"),
            replay=str(rig.folder / "kept"),
            retention=str(rig.folder / "kept"),
            dataset=str(rig.folder / "data"),
            since=SINCE.isoformat(),
            new_samples=50,
            evaluation_samples=10,
            output=str(rig.folder / "update"),
            settings={
                "steps": 200,
                "batch_new": 16,
                "batch_replay": 16,
                "learning_rate": 0.02,
                "momentum": 0.9,
                "temperature": 2.0,
                "seed": 0,
            },
        )
        assert told["samples"] == 50
        assert told["new_before"] < told["new_after"]
        assert told["old_before"] > 0.8
        assert read_weights((rig.folder / "update").read_bytes()).keys() == read_weights(files.weights).keys()

    run(rig, story)


def test_samples_when_counted_then_a_new_shard_counts_at_the_next_look(rig: Rig) -> None:
    x, y = samples(5, 1)
    since = {"dataset": str(rig.folder / "new"), "since": SINCE.isoformat()}
    at = np.full(5, int(SINCE.timestamp() * 1_000_000), np.int64)
    counts: list[int] = []

    async def story() -> None:
        counts.append((await rig.child.ask("count", timeout_s=10, **since))["samples"])
        for taken_at in (at, at - 1, at):
            write_shard(rig.folder / "new", x, y, at=taken_at)
            counts.extend([(await rig.child.ask("count", timeout_s=10, **since))["samples"] for _ in range(2)])

    run(rig, story)
    assert counts == [0, 5, 5, 5, 5, 10, 10]


def test_request_when_canceled_then_the_process_ends(rig: Rig) -> None:
    async def story() -> None:
        training = asyncio.Event()
        task = asyncio.create_task(rig.train(epochs=100_000, on_progress=lambda _: training.set()))
        await training.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await rig.child.wait() < 0
        assert not rig.child.is_running

    run(rig, story)
