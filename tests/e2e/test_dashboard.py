"""An operator's day in the browser: real Chromium, `python -m dashboard`, a real controller, real agents."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import dashboard_settings, log_in
from tests.e2e.voyage import Agent, Controller, online
from tests.rig import BrokerAt, wait_for


@pytest.fixture
def controller(iotcore: BrokerAt) -> Iterator[Controller]:
    """One broker is enough: the dashboard sees the REST API alone."""
    controller = Controller(iotcore, "")
    yield controller
    controller.close()


def test_fleet_when_devices_enrol_then_it_is_seen_live_and_a_rollout_is_started_and_proven(
    controller: Controller, new_agent: Callable[[], Agent], dashboard_url: str, page: Page
) -> None:
    page.goto(dashboard_url)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill("not the password")
    page.get_by_test_id("log-in").click()
    expect(page.get_by_test_id("reason")).to_have_text("Name or password is wrong.")
    log_in(page, dashboard_url, controller)
    expect(page.get_by_test_id("who")).to_have_text("admin")
    expect(page.get_by_test_id("fleet-total")).to_have_text("0")

    page.evaluate("window.sameDocument = true")
    for _ in range(3):
        new_agent()
    devices = online(controller, 3)
    expect(page.get_by_test_id("fleet-online")).to_have_text("3")
    expect(page.get_by_test_id("count-active")).to_have_text("3")
    assert page.evaluate("window.sameDocument")

    page.get_by_role("link", name="Devices", exact=True).first.click()
    rows = page.get_by_test_id("device-table").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(page.get_by_test_id("page-words")).to_have_text("1–3 of 3")
    wanted = devices[1]["id"]
    page.get_by_label("Id or host name").fill(wanted[4:12])
    expect(rows).to_have_count(1)
    rows.get_by_role("link", name=wanted).click()
    expect(page.get_by_test_id("device-presence")).to_have_text("online")
    expect(page.get_by_test_id("labels")).to_contain_text("site = lyon")

    controller.new_version()
    page.goto(f"{dashboard_url}/models/linear")
    page.get_by_test_id("roll-out").click()
    form = page.get_by_test_id("rollout-form")
    form.get_by_label("Waves").fill("1, half")
    form.get_by_test_id("submit").click()
    expect(form.get_by_test_id("refusal")).to_have_text("A wave is a count such as 5 or a share such as 25%, not half.")
    form.get_by_label("Waves").fill("1, 100%")
    form.get_by_test_id("submit").click()
    page.wait_for_url(re.compile("/rollouts/."))
    expect(page.get_by_test_id("rollout-state")).to_have_text("succeeded")
    expect(page.get_by_test_id("proven")).to_have_text("3")
    expect(page.get_by_test_id("wave-2")).to_contain_text("2 of 2 proven")
    targets = page.get_by_test_id("target-table").locator("tbody tr")
    expect(targets.get_by_text("succeeded")).to_have_count(3)


def test_page_when_the_controller_goes_away_then_says_so_and_recovers_by_itself(
    controller: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, controller, "/devices")
    expect(page.get_by_test_id("banner")).to_be_hidden()
    controller.kill()
    expect(page.get_by_test_id("banner")).to_contain_text("does not answer")
    controller.start()
    expect(page.get_by_test_id("banner")).to_be_hidden()


def test_session_when_its_token_is_deleted_then_the_page_leads_to_the_login_and_back(
    controller: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, controller, "/jobs")
    (ours,) = (token for token in controller.get("/tokens")["items"] if token["name"] == "dashboard")
    assert controller.api.delete(f"/tokens/{ours['id']}").status_code == 204
    expect(page.get_by_test_id("reason")).to_have_text("Your session has ended. Log in again.")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(controller.password)
    page.get_by_test_id("log-in").click()
    page.wait_for_url(f"{dashboard_url}/jobs")


def test_session_when_logged_out_then_its_cookie_and_its_token_open_nothing(
    controller: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, controller)
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.get_by_test_id("log-out").click()
    expect(page.get_by_test_id("reason")).to_have_text("You are logged out.")
    assert "dashboard" not in {token["name"] for token in controller.get("/tokens")["items"]}
    page.goto(f"{dashboard_url}/devices")
    assert page.url == f"{dashboard_url}/login?next=/devices"


def test_token_when_made_and_revoked_then_it_was_shown_once_with_the_lines_for_an_agent(
    controller: Controller, dashboard_url: str, page: Page
) -> None:
    log_in(page, dashboard_url, controller, "/enrollment-tokens")
    page.get_by_test_id("new-token").click()
    form = page.get_by_test_id("token-form")
    form.get_by_label("Name", exact=True).fill("hall 7")
    form.get_by_label("Labels").fill("site=lyon")
    form.get_by_test_id("submit").click()
    token = page.get_by_test_id("token").inner_text()
    expect(page.get_by_test_id("agent-lines")).to_contain_text(f"export SHOAL_AGENT_TOKEN={token}")
    page.get_by_role("button", name="I have kept it").click()
    row = page.get_by_test_id("token-table").locator("tbody tr")
    expect(row).to_contain_text("hall 7")
    expect(page.get_by_text(token)).to_have_count(0)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_test_id("yes").click()
    expect(row).to_contain_text("revoked")


def test_dashboard_when_its_port_is_used_then_says_so_in_one_sentence_and_ends_with_1(
    controller: Controller, dashboard_url: str
) -> None:
    port = int(dashboard_url.rpartition(":")[2])
    second = subprocess.run(
        [sys.executable, "-m", "dashboard"],
        env=dashboard_settings(controller, port),
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    said = f"Another program uses 127.0.0.1:{port}: stop it, or set SHOAL_DASHBOARD_PORT.\n"
    assert (second.stdout, second.stderr) == ("", said)


def test_machine_when_its_token_needs_approval_then_it_is_approved_in_two_clicks_pinged_and_suspended(
    controller: Controller, dashboard_url: str, page: Page, tmp_path: Path
) -> None:
    log_in(page, dashboard_url, controller, "/enrollment-tokens")
    page.get_by_test_id("new-token").click()
    form = page.get_by_test_id("token-form")
    form.get_by_label("Name", exact=True).fill("field")
    form.get_by_label("Devices", exact=True).fill("2")
    form.get_by_label("An operator approves each device").click()
    form.get_by_test_id("submit").click()
    token = page.get_by_test_id("token").inner_text()
    expect(page.get_by_test_id("service-lines")).to_contain_text("sudo shoal-agent install --controller-url https://")
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_test_id("token-table").locator("tbody tr")).to_contain_text("by an operator")

    agent = Agent(tmp_path / "agent", controller, token)
    page.goto(dashboard_url)
    page.get_by_test_id("fleet-pending").click()
    pending = page.get_by_test_id("pending")
    expect(pending).to_contain_text("1 machine")
    pending.get_by_test_id("approve").click()
    expect(page.get_by_test_id("confirm")).to_contain_text("as a device of its own?")
    page.get_by_test_id("yes").click()
    expect(pending).to_be_hidden()
    row = page.get_by_test_id("device-table").locator("tbody tr")
    expect(row).to_contain_text("online")

    (device,) = online(controller, 1)
    row.get_by_role("link", name=device["id"]).click()
    expect(page.get_by_test_id("identity")).to_contain_text("renews itself")
    page.get_by_test_id("ping").click()
    expect(page.get_by_test_id("answer-0")).to_contain_text("succeeded")
    expect(page.get_by_test_id("answer-0")).to_contain_text("agent 0.")

    page.get_by_test_id("suspend").click()
    asking = page.get_by_test_id("suspend-form")
    asking.get_by_label("Reason").fill("stolen from the north gate")
    asking.get_by_test_id("submit").click()
    expect(page.get_by_test_id("device-state")).to_have_text("suspended")
    expect(page.get_by_test_id("identity")).to_contain_text("stolen from the north gate")
    expect(page.get_by_test_id("certificates")).to_contain_text("revoked")
    expect(page.get_by_test_id("device-presence")).to_have_text("offline")
    agent.close()

    page.goto(f"{dashboard_url}/enrollment-tokens")
    page.get_by_test_id("token-table").get_by_role("button", name="Revoke").click()
    page.get_by_test_id("yes").click()
    expect(page.get_by_test_id("token-table").locator("tbody tr")).to_contain_text("revoked")


def test_machines_when_several_wait_then_are_approved_together_or_turned_away(
    controller: Controller, dashboard_url: str, page: Page, tmp_path: Path
) -> None:
    body = {"needs_approval": True, "max_uses": 3}
    token = controller.api.post("/enrollment-tokens", json=body).json()["token"]
    agents = [Agent(tmp_path / name, controller, token) for name in ("one", "two", "three")]
    log_in(page, dashboard_url, controller, "/devices")
    lines = page.get_by_test_id("pending").locator(".line")
    expect(lines).to_have_count(3)
    lines.first.get_by_test_id("turn-away").click()
    page.get_by_test_id("yes").click()
    expect(lines).to_have_count(2)
    page.get_by_test_id("select-all").click()
    page.get_by_test_id("approve-selected").click()
    expect(page.get_by_test_id("confirm").last).to_contain_text("Approve 2 machines")
    page.get_by_test_id("yes").last.click()
    expect(page.get_by_test_id("pending")).to_be_hidden()
    devices = controller.get("/devices")["items"]
    assert sorted(device["state"] for device in devices) == ["active", "active", "retired"]
    assert [device["state_reason"] for device in devices if device["state"] == "retired"] == ["turned away"]
    for agent in agents:
        agent.kill()


def test_executions_when_a_device_is_away_then_say_what_they_wait_for_and_can_be_canceled(
    controller: Controller, new_agent: Callable[[], Agent], dashboard_url: str, page: Page
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    agent.close()
    wait_for(lambda: not controller.get(f"/devices/{device['id']}")["online"])
    log_in(page, dashboard_url, controller, "/executions")
    page.get_by_test_id("new-command").click()
    page.get_by_test_id("command-form").get_by_test_id("submit").click()
    command = page.get_by_test_id("command-table").locator("tbody tr")
    expect(command).to_contain_text("0 of 1")
    command.get_by_role("link", name="ping").click()
    expect(page.get_by_test_id("owner")).to_be_visible()
    row = page.get_by_test_id("execution-table").locator("tbody tr")
    expect(row).to_contain_text("device offline")
    expect(row).to_contain_text("high priority")
    expect(row.get_by_role("link", name=device["id"])).to_be_visible()
    row.get_by_role("button", name="Cancel").click()
    page.get_by_test_id("yes").click()
    expect(row).to_contain_text("canceled")
