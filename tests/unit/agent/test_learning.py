"""The training process as executions share it: one at a time, and what ends one does not end the other."""

import asyncio
import hashlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import torch
from torch import nn

from agent.door import Door
from agent.errors import AgentError
from agent.executions import NeverDone
from agent.identity import Identity
from agent.incremental import Incremental
from agent.inference import Inference
from agent.journal import Journal
from agent.learning import Learning
from agent.outbox import Outbox
from agent.settings import Settings
from shoal.training.dataset import write_shard
from shoal.training.programs import ProgramFiles, export_programs
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import ExecutionKind, Offer
from shoal.wire.incremental import IncrementalUpdateSpec
from tests.rig import children_of

SINCE = "2026-01-01T00:00:00+00:00"
NOON_US = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def files() -> ProgramFiles:
    torch.manual_seed(0)
    return export_programs(nn.Linear(4, 3), torch.zeros(2, 4))


@pytest.fixture
def learning(tmp_path: Path, identity: Identity, files: ProgramFiles) -> Learning:
    """One that has fetched already what it needs."""
    learning = Learning(tmp_path / "learning", tmp_path / "data", lambda: Door(identity))
    for data in (files.train_program, files.weights):
        (tmp_path / "learning" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    give_data(tmp_path, 64)
    return learning


def give_data(folder: Path, count: int) -> None:
    x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    write_shard(folder / "data" / "local", x, x[:, :3].argmax(1), at=np.full(count, NOON_US, np.int64))


def ref(data: bytes) -> ArtifactRef:
    return ArtifactRef(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


async def train(learning: Learning, files: ProgramFiles, name: str, update: Path, epochs: int) -> dict[str, Any]:
    return await learning.ask(
        "train",
        program=await learning.program(name, ref(files.train_program)),
        weights=await learning.fetch(name, ref(files.weights)),
        dataset=learning.dataset("local"),
        output=str(update),
        epochs=epochs,
        batch_size=16,
        learning_rate=0.05,
        momentum=0.9,
        seed=1,
    )


def children() -> list[psutil.Process]:
    return children_of(os.getpid(), "agent.training")


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


def run(learning: Learning, story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        try:
            async with asyncio.timeout(60):
                await story()
        finally:
            await learning.close()

    asyncio.run(bounded())


async def in_training(learning: Learning, files: ProgramFiles, name: str) -> "asyncio.Task[None]":
    """Begin a training that does not end by itself."""

    async def endless() -> None:
        async with learning.session(name) as update:
            await train(learning, files, name, update, 10_000_000)

    task = asyncio.create_task(endless())
    await until(lambda: any(child.cpu_times().user > 1 for child in children()))
    return task


def test_work_when_another_execution_is_canceled_in_its_training_then_is_done_all_the_same(
    learning: Learning, files: ProgramFiles
) -> None:
    async def story() -> None:
        first = await in_training(learning, files, "e1")
        async with learning.session("e2") as update:
            second = asyncio.create_task(train(learning, files, "e2", update, 2))
            await asyncio.sleep(0.05)
            first.cancel()
            assert (await second)["examples"] == 64
        with pytest.raises(asyncio.CancelledError):
            await first

    run(learning, story)


def test_training_when_its_process_is_killed_then_fails_by_name_and_the_next_one_is_done(
    learning: Learning, files: ProgramFiles
) -> None:
    async def story() -> None:
        first = await in_training(learning, files, "e1")
        (child,) = children()
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(AgentError) as caught:
            await first
        assert caught.value.code == "process.crashed"
        async with learning.session("e2") as update:
            assert (await train(learning, files, "e2", update, 2))["examples"] == 64

    run(learning, story)


def test_session_when_it_was_the_last_of_a_run_then_process_and_files_go(
    learning: Learning, files: ProgramFiles, tmp_path: Path
) -> None:
    async def story() -> None:
        async with learning.session("e1") as first:
            await train(learning, files, "e1", first, 2)
        assert len(children()) == 1  # warm for the next round
        assert not first.exists()
        async with learning.session("e2", stays_warm=False) as second:
            await train(learning, files, "e2", second, 2)
        await until(lambda: not children())
        await until(lambda: not list((tmp_path / "learning").iterdir()))

    run(learning, story)


def test_learning_when_torch_is_missing_then_is_rejected_by_name(
    learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.learning.find_spec", lambda _name: None)

    async def story() -> None:
        with pytest.raises(NeverDone) as caught:
            async with learning.session("e1"):
                raise AssertionError("it has begun")
        assert caught.value.code == "training.not_available"

    run(learning, story)


@pytest.mark.parametrize("name", ["", ".", "..", "../data", "/etc", "a/b"])
def test_dataset_when_its_name_leaves_the_folder_then_is_rejected(learning: Learning, name: str) -> None:
    with pytest.raises(NeverDone) as caught:
        learning.dataset(name)
    assert caught.value.code == "dataset.not_found"


def test_update_when_samples_are_missing_then_says_how_many_came(
    learning: Learning, files: ProgramFiles, tmp_path: Path, journal: Journal, outbox: Outbox
) -> None:
    spec = IncrementalUpdateSpec(
        policy_id="p",
        model="m",
        version=1,
        train_program=ref(files.train_program),
        eval_program=ref(files.eval_program),
        weights=ref(files.weights),
        replay=ref(b""),
        retention=ref(b""),
        dataset="local",
        since=SINCE,
        new_samples=200,
    )
    offer = Offer(
        execution_id="e1",
        type=ExecutionKind.INCREMENTAL_UPDATE,
        attempt=1,
        epoch=1,
        number=1,
        timeout_s=60,
        spec=msgspec.Raw(msgspec.json.encode(spec)),
    )
    told: list[str] = []
    inference = Inference(Settings(state=tmp_path / "device"), journal)
    incremental = Incremental(learning=learning, inference=inference, outbox=outbox)

    async def story() -> None:
        task = asyncio.create_task(incremental.update(offer, lambda _share, message: told.append(message)))
        await until(lambda: bool(told))
        give_data(tmp_path, 56)
        await until(lambda: told[-1] != told[0])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(learning, story)
    assert (told[0], told[-1]) == ("64 of 200 labelled samples", "120 of 200 labelled samples")
