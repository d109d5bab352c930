"""What a device says of itself on one screen."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from agent import facts, status
from agent.identity import Identity
from agent.inference import Crossing, Watched
from agent.journal import Journal
from agent.settings import Settings
from agent.status import Live
from shoal.wire.executions import ExecutionKind, Offer

WATCHED = Watched(
    policy_id="p",
    model="digits",
    version=2,
    samples=320,
    population_stability_index=0.31,
    threshold=0.25,
    crossing=Crossing(samples=312, population_stability_index=0.26, at="2026-01-01T00:00:00+00:00"),
)
LIVE = Live(
    pid=os.getpid(),
    boot_id=facts.boot_id(),
    is_connected=False,
    last_error="The broker at 127.0.0.1:1 does not answer: refused",
    progress={"e1": (0.45, "round 1: training")},
    monitors=[WATCHED],
)


@pytest.fixture
def settings(identity: Identity, journal: Journal) -> Settings:
    journal.take_offer(
        Offer(execution_id="e1", type=ExecutionKind.FEDERATED_ROUND, attempt=2, timeout_s=60, spec=msgspec.Raw(b"{}"))
    )
    return Settings(state=identity.ca_path().parent)


async def told(settings: Settings, live: Live) -> "asyncio.Task[None]":
    task = asyncio.create_task(status.keep_told(settings, lambda: live))
    while not (settings.state / "live.json").exists():
        await asyncio.sleep(0.005)
    return task


def test_status_when_the_agent_runs_then_shows_what_it_says(settings: Settings) -> None:
    async def story() -> None:
        task = await told(settings, LIVE)
        found = status.read(settings)
        assert (found["running"], found["connected"], found["last_error"]) == (True, False, LIVE.last_error)
        assert found["executions"] == [
            {
                "execution_id": "e1",
                "type": "federated_round",
                "attempt": 2,
                "progress": 0.45,
                "message": "round 1: training",
            }
        ]
        assert found["monitors"] == [msgspec.to_builtins(WATCHED)]
        lines = status.screen(found).splitlines()
        assert "execution                 45% federated_round e1, attempt 2 round 1: training" in lines
        assert "monitor digits/2         320 samples, index 0.310 of 0.25, crossed at sample 312" in lines
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not (settings.state / "live.json").exists()

    asyncio.run(story())


def test_status_when_it_cannot_be_written_then_is_written_as_soon_as_it_can_be(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.status._INTERVAL_S", 0.01)
    looks = 0

    def look() -> Live:
        nonlocal looks
        looks += 1
        return LIVE

    async def story() -> None:
        in_the_way = settings.state / "live.new"
        in_the_way.mkdir()
        task = asyncio.create_task(status.keep_told(settings, look))
        while looks < 3:
            await asyncio.sleep(0.005)
        in_the_way.rmdir()
        while not (settings.state / "live.json").exists():
            await asyncio.sleep(0.005)
        assert status.read(settings)["running"] is True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"boot_id": "another"}])
def test_status_when_the_agent_was_killed_then_shows_what_the_journal_holds(
    settings: Settings, changes: dict[str, object]
) -> None:
    (settings.state / "live.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(LIVE, **changes)))
    found = status.read(settings)
    assert (found["running"], found["connected"], found["monitors"]) == (False, False, [])
    assert [(one["execution_id"], one["message"]) for one in found["executions"]] == [("e1", "")]


def test_status_when_the_device_is_not_enrolled_then_says_so(tmp_path: Path) -> None:
    assert status.read(Settings(state=tmp_path / "new"))["enrolled"] is False
