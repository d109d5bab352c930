"""What a device says of itself on one screen."""

import asyncio
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from agent import facts, status
from agent.errors import AgentError
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
        Offer(
            execution_id="e1",
            type=ExecutionKind.FEDERATED_ROUND,
            attempt=2,
            epoch=1,
            number=1,
            timeout_s=60,
            spec=msgspec.Raw(b"{}"),
        )
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
        assert "connection    not connected: The broker at 127.0.0.1:1 does not answer: refused" in lines
        assert "sessions      0 so far; no messages wait to be sent" in lines
        assert "execution     45% of federated_round e1, attempt 2: round 1: training" in lines
        assert "monitor       digits/2: 320 samples, index 0.310 of 0.25, crossed at sample 312" in lines
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
    found = status.read(Settings(state=tmp_path / "new", controller_url="https://c:8443"))
    assert (found["enrolled"], found["running"], found["device_id"]) == (False, False, None)
    lines = status.screen(found).splitlines()
    assert "device        not enrolled; the controller is https://c:8443" in lines
    assert "connection    the agent does not run" in lines
    assert list(tmp_path.iterdir()) == []


def test_status_when_an_operator_has_to_decide_then_says_what_the_device_waits_for(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path)
    waiting = "An operator has to approve this device [enrollment.needs_approval]"
    live = msgspec.structs.replace(LIVE, last_error="", waiting=waiting)
    (tmp_path / "live.json").write_bytes(msgspec.json.encode(live))
    found = status.read(settings)
    assert (found["enrolled"], found["running"], found["waiting"]) == (False, True, waiting)
    assert f"waiting       {waiting}" in status.screen(found).splitlines()


def test_status_when_the_agent_has_not_run_since_it_enrolled_then_makes_no_journal_in_its_place(
    identity: Identity,
) -> None:
    found = status.read(Settings(state=identity.ca_path().parent))
    assert (found["enrolled"], found["device_id"]) == (True, identity.device_id)
    assert status.screen(found)
    assert not (identity.ca_path().parent / "journal.db").exists()


def test_status_when_told_where_settings_come_from_then_shows_it(settings: Settings) -> None:
    told = replace(settings, sources=("SHOAL_AGENT_STATE", "/etc/shoal/agent.toml"), instance="cam-2", token="hidden")
    found = status.read(told)
    assert found["hardware_id"] == facts.hardware_id(told)
    shown = status.screen(found)
    assert "settings      SHOAL_AGENT_STATE, /etc/shoal/agent.toml\n" in shown
    assert "instance cam-2\n" in shown
    assert "hidden" not in shown + str(found)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ("2026-01-01T12:00:00", "ends in 30 days (2026-01-31 12:00 UTC)"),
        ("2026-01-30T12:00:00", "ends in 24 h (2026-01-31 12:00 UTC)"),
        ("2026-02-04T12:00:00", "ended 4 days ago (2026-01-31 12:00 UTC)"),
    ],
)
def test_status_when_the_certificate_ends_then_says_in_how_long(settings: Settings, now: str, words: str) -> None:
    found = {**status.read(settings), "certificate_expires_at": "2026-01-31T12:00:00+00:00"}
    shown = status.screen(found, now=datetime.fromisoformat(f"{now}+00:00"))
    assert f"certificate   {words}\n" in shown


def test_status_when_names_are_long_then_breaks_lines_below_their_beginning(settings: Settings) -> None:
    slot = {
        "slot": "a",
        "state": "serving",
        "variant": {"model": "m" * 64, "version": 12, "recipe": "r" * 64, "runtime": "onnxruntime"},
        "message": "loaded again after a crash",
    }
    found = {**status.read(settings), "slots": [slot]}
    lines = status.screen(found, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    first = next(number for number, line in enumerate(lines) if line.startswith("slot"))
    assert lines[first + 1].startswith(" " * 14)
    told = "".join(line[14:] for line in lines[first:]).replace(" ", "")
    assert f"{'m' * 64}/12{'r' * 64}ononnxruntime:loadedagain" in told


def test_status_when_a_message_would_steer_the_terminal_then_shows_it_as_text(settings: Settings) -> None:
    found = {**status.read(settings), "running": True, "last_error": "\x1b]0;title\x07\r\nconnection    connected"}
    lines = status.screen(found).splitlines()
    assert "connection    not connected:  ]0;title   connection    connected" in lines


def test_status_when_the_state_is_closed_to_this_user_then_says_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = PermissionError(13, "Permission denied", str(settings.state))
    monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=closed))
    with pytest.raises(AgentError, match=r"is closed to this user: run it with sudo") as caught:
        status.read(settings)
    assert caught.value.code == "status.forbidden"
