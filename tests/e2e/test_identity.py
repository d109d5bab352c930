"""A device's life: asked in, renewed, suspended, installed anew; on the embedded parts and on the real ones."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.voyage import Agent, Controller, online
from tests.rig import wait_for


@pytest.fixture
def short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that end while the test runs."""
    monkeypatch.setenv("SHOAL_CERTIFICATE_LIFETIME_S", "6")


def change(controller: Controller, device_id: str, verb: str, **body: str) -> dict[str, Any]:
    answer = controller.api.post(f"/devices/{device_id}/{verb}", json=body or None)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def one_in(controller: Controller, state: str) -> dict[str, Any]:
    found = wait_for(lambda: controller.get("/devices", selector=f"state == {state}")["items"], 40)
    assert len(found) == 1
    one: dict[str, Any] = found[0]
    return one


def command(controller: Controller, name: str) -> dict[str, Any]:
    made = controller.api.post("/commands", json={"name": name, "selector": "all"}).json()
    wait_for(lambda: controller.get(f"/commands/{made['id']}")["is_done"], 60)
    (execution,) = controller.get("/executions", owner_id=made["id"])["items"]
    assert execution["state"] == "succeeded", execution
    result: dict[str, Any] = execution["result"]
    return result


def test_machine_when_it_needs_approval_then_waits_and_is_heard_from_then_on_until_suspended(
    controller: Controller, new_agent: Callable[[], Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = controller.api.post("/enrollment-tokens", json={"needs_approval": True}).json()["token"]
    monkeypatch.setattr(controller, "token", lambda: token)
    agent = new_agent()
    pending = one_in(controller, "pending")
    assert "approve" in wait_for(lambda: agent.status()["waiting"])
    change(controller, pending["id"], "approve")
    (device,) = online(controller, 1)
    assert device["id"] == pending["id"]
    change(controller, device["id"], "suspend", reason="lent out")
    assert "lent out" in wait_for(lambda: agent.status()["waiting"], 40)
    refused = controller.get(f"/devices/{device['id']}")
    assert (refused["state"], refused["state_reason"], refused["online"]) == ("suspended", "lent out", False)
    change(controller, device["id"], "activate")
    wait_for(lambda: online(controller, 1), 70)


def test_agent_when_told_to_restart_then_another_process_says_that_it_did(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    new_agent()
    online(controller, 1)
    before = command(controller, "ping")
    after = command(controller, "restart_agent")
    assert before["instance"] != after["instance"] == command(controller, "ping")["instance"]
    assert after["sessions"] > before["sessions"]


def test_certificate_when_it_ended_while_the_device_was_away_then_the_device_comes_back(
    short_lives: None, controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    agent.kill()
    path = f"/devices/{device['id']}/certificates"
    ends = max(datetime.fromisoformat(one["expires_at"]) for one in controller.get(path)["items"])
    wait_for(lambda: datetime.now(UTC) > ends)
    wait_for(lambda: not controller.get(f"/devices/{device['id']}")["online"], 60)
    agent.start()
    assert online(controller, 1)[0]["id"] == device["id"]
    newest = max(datetime.fromisoformat(one["expires_at"]) for one in controller.get(path)["items"])
    assert newest > ends


def test_journal_when_lost_then_the_device_goes_on_above_its_old_count(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    command(controller, "restart_agent")
    agent.close()
    sessions = controller.get(f"/devices/{device['id']}/sessions")["items"]
    for path in agent.state.glob("journal.db*"):
        path.unlink()
    agent.start()
    assert online(controller, 1)[0]["id"] == device["id"]
    newest = controller.get(f"/devices/{device['id']}/sessions")["items"][0]
    assert newest["session"] > max(one["session"] for one in sessions)
    assert newest["end"] == ""


def test_machine_when_installed_anew_then_waits_and_a_merge_gives_it_its_device_back(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    agent.close()
    shutil.rmtree(agent.state)
    agent.state.mkdir()
    agent.start()
    claim = one_in(controller, "pending")
    assert claim["claims_device_id"] == device["id"]
    assert device["id"] in wait_for(lambda: agent.status()["waiting"])
    change(controller, claim["id"], "merge")
    merged = online(controller, 1)[0]
    assert (merged["id"], merged["enrolled_at"]) == (device["id"], device["enrolled_at"])
    assert merged["key_id"] != device["key_id"]
    assert controller.get("/devices")["total"] == 1
