"""Telemetry, alert rules, alerts and webhooks through the operators' door, the client and the command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.db import Database, utc_now
from controller.gateway.telemetry import TelemetryDoor
from controller.telemetry import watching
from shoal.client import ApiError, Client
from shoal.schemas.telemetry import AlertRuleChange, AlertRuleRequest, WebhookRequest
from tests.integration.test_doors import Controller
from tests.integration.test_webhooks import Receiver
from tests.rows import add_device
from tests.telemetry import CAM, PRESS, House, message

HOT = AlertRuleRequest(name="hot", selector="all", kind="cpu.ratio", condition="above", threshold=0.4)


@pytest.fixture
def controller(tmp_path: Path, empty_database: Database) -> Iterator[Controller]:
    controller = Controller(tmp_path, empty_database)
    yield controller
    controller.close()


@pytest.fixture
def house(controller: Controller) -> House:
    with controller.database.transaction() as session:
        add_device(session, CAM, labels={"site": "lyon"})
        add_device(session, PRESS, labels={"site": "nice"})
    return House(controller.database, controller.blobs, controller.settings, TelemetryDoor(controller.settings))


@pytest.fixture
def client(controller: Controller) -> Iterator[Client]:
    token = controller.operator.headers["Authorization"].removeprefix("Bearer ")
    with Client(controller.api.url, token) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Command:
    """`shoal`, logged in."""

    def __init__(self, controller: Controller) -> None:
        token = controller.operator.headers["Authorization"].removeprefix("Bearer ")
        self._environment = {**os.environ, "SHOAL_URL": controller.api.url, "SHOAL_TOKEN": token, "COLUMNS": "200"}

    def __call__(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "shoal.cli", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        code, said = self(*arguments, "--json")
        assert code == 0, said
        return json.loads(said)


@pytest.fixture
def shoal(controller: Controller) -> Command:
    return Command(controller)


def send(house: House, sequence: int = 1) -> None:
    house.take(message(utc_now().timestamp() - 60, sequence=sequence))
    house.fold()


def code_of(refused: pytest.ExceptionInfo[ApiError]) -> tuple[int, str]:
    return refused.value.status, refused.value.code


def test_figures_when_read_then_are_those_that_came(client: Client, house: House) -> None:
    with pytest.raises(ApiError) as refused:
        client.telemetry.latest(CAM)
    assert code_of(refused) == (404, "telemetry.not_found")
    send(house)
    assert client.telemetry.latest(CAM).figures == {"cpu.ratio": 0.25}
    assert client.telemetry.kinds() == ["cpu.ratio"]
    assert client.telemetry.kinds(device=PRESS) == []
    now = datetime.now(UTC)
    raw = client.telemetry.series("cpu.ratio", device=CAM, begin=now - timedelta(minutes=10), end=now, step_s=60)
    assert (raw.source, raw.step_s, sum(point.count for point in raw.points)) == ("raw", 60, 2)
    sums = client.telemetry.series("cpu.ratio", selector='labels.site == "lyon"')
    assert (sums.source, [point.mean for point in sums.points]) == ("rollup", [0.375])
    assert client.telemetry.series("cpu.ratio", selector='labels.site == "nice"').points == []


@pytest.mark.usefixtures("house")
def test_series_when_asked_for_wrongly_then_is_refused_by_name(client: Client) -> None:
    for code, wanted in (
        ("telemetry.whose", {}),
        ("telemetry.whose", {"device": CAM, "selector": "all"}),
        ("selector.unknown_field", {"selector": "nothing == 1"}),
        ("device.not_found", {"device": "d-zzzzzzzzzzzzzzzz"}),
        (
            "telemetry.bad_range",
            {"device": CAM, "begin": datetime(2026, 1, 2, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)},
        ),
    ):
        with pytest.raises(ApiError) as refused:
            client.telemetry.series("cpu.ratio", **wanted)  # type: ignore[arg-type]
        assert refused.value.code == code
    with pytest.raises(ApiError) as refused:
        client.telemetry.series("CPU; DROP", device=CAM)
    assert code_of(refused) == (422, "request.invalid")


def test_alert_when_it_fires_then_is_listed_acknowledged_and_in_the_timeline(client: Client, house: House) -> None:
    made = client.alert_rules.create(HOT)
    assert (made.selector, made.is_enabled, made.firing) == ("all", True, 0)
    house.take(message(utc_now().timestamp() - 60, series={"cpu.ratio": [0.1, 0.9]}))
    house.fold()
    (alert,) = client.alerts.list(state="firing", rule="hot", device=CAM, severity="warning").items
    assert (alert.value, alert.message) == (0.9, "cpu.ratio is 0.9: above 0.4.")
    assert client.alerts.acknowledge(alert.id).acknowledged_by == "admin"
    assert client.alert_rules.list().items[0].firing == 1
    assert [event.name for event in client.devices.events(CAM, name="alert.").items] == ["alert.fired"]
    assert not client.alert_rules.change("hot", AlertRuleChange(is_enabled=False)).is_enabled
    assert client.alerts.list(state="resolved").items[0].acknowledged_by == "admin"
    client.alert_rules.delete("hot")
    assert client.alert_rules.list().items == []
    with pytest.raises(ApiError) as refused:
        client.alerts.acknowledge(alert.id)
    assert code_of(refused) == (409, "alert.resolved")


def test_rule_when_its_name_is_taken_or_it_makes_no_sense_then_is_refused(client: Client) -> None:
    client.alert_rules.create(HOT)
    with pytest.raises(ApiError) as refused:
        client.alert_rules.create(HOT)
    assert code_of(refused) == (409, "alert_rule.exists")
    with pytest.raises(ApiError) as refused:
        client.alert_rules.create(HOT.model_copy(update={"name": "other", "threshold": None}))
    assert refused.value.code == "alert_rule.threshold_missing"


def test_webhook_when_tested_then_tells_how_it_went_and_never_shows_its_secret_again(
    client: Client, controller: Controller, receiver: Receiver
) -> None:
    made = client.webhooks.create(WebhookRequest(name="ops", url=receiver.url, events=["alert.*"]))
    assert len(made.secret) > 30
    tested = client.webhooks.test("ops")
    assert (tested.state, tested.code, tested.event) == ("delivered", 204, "webhook.test")
    receiver.status = 500
    assert client.webhooks.test("ops").state == "failed"
    (shown,) = client.webhooks.list().items
    assert (shown.failed, shown.last_code, shown.waiting) == (1, 500, 0)
    assert [one.state for one in client.webhooks.deliveries("ops").items] == ["failed", "delivered"]
    for path in ("/webhooks", "/audit", "/events", "/webhooks/ops/deliveries"):
        assert made.secret not in controller.operator.get(path).text
    client.webhooks.delete("ops")
    with pytest.raises(ApiError) as refused:
        client.webhooks.deliveries("ops")
    assert code_of(refused) == (404, "webhook.not_found")


def test_webhook_when_its_address_is_forbidden_then_is_refused(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        client.webhooks.create(WebhookRequest(name="ops", url="http://169.254.169.254/", events=["*"]))
    assert refused.value.code == "webhook.forbidden_address"


def test_command_when_there_is_nothing_then_says_so(shoal: Command) -> None:
    for noun in ("alert-rules", "alerts", "webhooks"):
        code, said = shoal(noun, "list")
        assert (code, len(said.splitlines())) == (0, 1), said
        assert shoal.json(noun, "list")["items"] == []
    assert shoal("telemetry", "kinds") == (0, "No device has sent telemetry yet.\n")


def test_command_when_devices_send_then_shows_figures_lines_and_alerts(
    shoal: Command, house: House, receiver: Receiver
) -> None:
    code, said = shoal(
        *("alert-rules", "create", "hot", "--kind", "cpu.ratio", "--condition", "above", "--threshold", "0.4")
    )
    assert code == 0, said
    assert "cpu.ratio above 40.0 %" in said
    send(house)
    code, said = shoal("telemetry", "show", CAM)
    assert code == 0, said
    assert "25.0 %" in said
    assert "▁" in said
    assert shoal.json("telemetry", "show", CAM)["figures"] == {"cpu.ratio": 0.25}
    code, said = shoal("telemetry", "series", "cpu.ratio", "--selector", "all")
    assert (code, "sums over time" in said) == (0, True), said
    assert shoal("telemetry", "series", "cpu.ratio")[0] == 2
    (alert,) = shoal.json("alerts", "list")["items"]
    assert alert["state"] == "resolved"
    assert "resolved" in shoal("alerts", "list", "--rule", "hot")[1]
    with house.database.transaction() as session:
        watching.sweep(session, utc_now())
    assert shoal("alert-rules", "disable", "hot")[0] == 0
    assert shoal("alert-rules", "delete", "hot")[1] == "Deleted the alert rule hot.\n"
    code, said = shoal("webhooks", "create", "ops", "--url", receiver.url, "--event", "alert.*")
    assert (code, "Secret, shown this once: " in said) == (0, True), said
    assert shoal("webhooks", "test", "ops")[0] == 0
    receiver.status = 500
    assert shoal("webhooks", "test", "ops")[0] == 1
    assert "webhook.refused" in shoal("webhooks", "deliveries", "ops")[1]
    assert shoal("webhooks", "delete", "ops")[0] == 0
