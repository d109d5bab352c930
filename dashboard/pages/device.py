"""`/devices/{id}`: what a device is, whether it is trusted, what it shall be, proved, did, and learned alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.badge import badge
from dashboard.components.form import Form
from dashboard.components.layout import Facts, Notice, Region, grid, heading, section
from dashboard.components.table import Column, Table
from dashboard.page import Live, Page
from dashboard.pages.alert_list import ALERT_COLUMNS, alert_row
from dashboard.pages.commands import CommandBox
from dashboard.pages.device_facts import fact_groups
from dashboard.pages.devices import group_address
from dashboard.pages.executions import EXECUTION_COLUMNS, execution_row
from dashboard.pages.identity import Acts, IdentityCard, IdentityTables
from dashboard.pages.incremental import UPDATE_COLUMNS, update_row
from dashboard.pages.telemetry import Charts, TelemetryBox
from dashboard.pages.timeline import TimelineBox
from dashboard.parts import Part, part
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.devices import (
    Certificate,
    Device,
    DeviceChange,
    DeviceSession,
    Difference,
    Event,
    Receipt,
    Slot,
)
from shoal.schemas.executions import Execution
from shoal.schemas.incremental import IncrementalUpdate
from shoal.schemas.telemetry import Alert

_ROWS: Final = 15
_NAMED: Final = 3  # newest commands whose names are asked for


@dataclass(frozen=True, kw_only=True)
class _Data:
    device: Device
    certificates: list[Certificate]
    sessions: list[DeviceSession]
    receipts: list[Receipt]
    executions: list[Execution]
    differences: list[Difference]
    events: PageOf[Event]
    charts: Charts
    alerts: Part[list[Alert]]
    updates: Part[list[IncrementalUpdate]]


def device(page: Page, device_id: str) -> None:
    """Draw the page."""
    view = _View(page, device_id)
    view.live = page.live(view.load, view.show)


class _View:
    live: Live[_Data]

    def __init__(self, page: Page, device_id: str) -> None:
        self._page = page
        self._device_id = device_id
        self._labels: dict[str, str] = {}
        self._command_names: dict[str, str] = {}
        acts = Acts(page, self._refresh)
        with heading(device_id, under=[("Devices", "/devices")]):
            ui.link("Which variant would it get?", f"/explain?device={device_id}").props('data-testid="explain"')
            self._badges = Region("actions")
        self._draw_label_form()
        with grid():
            with ui.element("div").classes("content"):
                self._identity = IdentityCard(acts)
                with section("Facts", hint="signed by the device", test_id="facts"):
                    self._facts = Region("fact-groups")
            with ui.element("div").classes("content"):
                self._commands = CommandBox(page, device_id, self._refresh)
                with section("Labels", test_id="labels") as actions:
                    self._chips = Region("chips")
                with actions:
                    form.button("Edit", self._edit, test_id="edit-labels")
                with section("Link", test_id="state"):
                    self._state = Facts()
                with section("Groups", test_id="groups"):
                    self._groups = Region("chips")
                with section("Desired and reported", hint="in what they differ", test_id="difference"):
                    self._differences = Table(
                        [
                            Column(name="subject", label="What"),
                            Column(name="desired", label="Desired"),
                            Column(name="reported", label="Reported"),
                            Column(name="because", label="Because", is_long=True),
                        ],
                        nothing="None: it is what it shall be.",
                        test_id="difference-table",
                    )
            self._telemetry = TelemetryBox(self._refresh, device_id=device_id)
            with section("Alerts", hint="newest first", test_id="alerts", wide=True) as actions:
                self._alerts = Table(_without_device(ALERT_COLUMNS), nothing="No alert was raised on it.")
                self._alerts_notice = Notice()
            with actions:
                ui.link("All its alerts", f"/alerts?state=any&device={device_id}")
            self._timeline = TimelineBox(page, device_id, self._refresh)
            self._draw_tables()

    def _draw_tables(self) -> None:
        with section("Slots", hint="what the device reports to hold", test_id="slots", wide=True):
            self._slots = Table(
                [
                    Column(name="slot", label="Slot"),
                    Column(name="state", label="State"),
                    Column(name="version", label="Version"),
                    Column(name="runtime", label="Runtime"),
                    Column(name="sha256", label="Artifact"),
                    Column(name="message", label="Said", is_long=True),
                ],
                nothing="The device holds no variant. Roll a version out to it.",
            )
        with section("Executions", hint="what was asked of it, newest first", test_id="executions", wide=True):
            self._executions = Table(
                _without_device(EXECUTION_COLUMNS), nothing="Nothing was asked of this device yet."
            )
        with section("Receipts", hint="signed, newest first", test_id="receipts", wide=True):
            self._receipts = Table(
                [
                    Column(name="at", label="Accepted"),
                    Column(name="version", label="Version"),
                    Column(name="runtime", label="Runtime"),
                    Column(name="golden", label="Golden set"),
                    Column(name="latency", label="Median latency", is_number=True),
                    Column(name="sha256", label="Digest loaded"),
                ],
                nothing="The device has not proven yet what it runs.",
            )
        with section("Learned alone", test_id="updates", wide=True):
            self._updates = Table(_without_device(UPDATE_COLUMNS), nothing="This device has not learned by itself yet.")
            self._updates_notice = Notice()
        self._trust = IdentityTables()

    def load(self, client: Client) -> _Data:
        device_id = self._device_id
        shown = client.devices.show(device_id)
        executions = client.executions.list(device_id=device_id, limit=_ROWS).items
        owners = [execution.owner_id for execution in executions if execution.kind == "command"][:_NAMED]
        for command_id in owners:
            if command_id not in self._command_names:  # it never changes
                self._command_names[command_id] = client.commands.show(command_id).name
        return _Data(
            device=shown,
            certificates=client.devices.certificates(device_id).items,
            sessions=client.devices.sessions(device_id).items,
            receipts=client.devices.receipts(device_id, limit=_ROWS).items,
            executions=executions,
            differences=client.devices.difference(device_id).items,
            events=self._timeline.load(client),
            charts=self._telemetry.load(client),
            alerts=part(lambda: client.alerts.list(device=device_id, limit=_ROWS).items),
            updates=part(lambda: client.incremental_updates.list(device_id=device_id, limit=_ROWS).items),
        )

    async def _refresh(self) -> None:
        await self.live.refresh()

    def show(self, data: _Data) -> None:
        now, shown = datetime.now(UTC), data.device
        self._labels = shown.labels
        self._badges.show((shown.state, shown.online, shown.flapping), _draw_badges)
        self._chips.show(shown.labels, _draw_chips)
        self._groups.show(shown.groups, _draw_groups)
        self._facts.show(fact_groups(shown.facts), _draw_facts)
        self._differences.show([difference_row(one) for one in data.differences])
        self._state.show(_state(shown, now))
        self._identity.show(shown, data.certificates, now)
        self._commands.show(data.executions, self._command_names, shown.state, now)
        self._trust.show(data.certificates, data.sessions, now)
        self._telemetry.show(data.charts)
        self._alerts_notice.show(data.alerts.refusal)
        if data.alerts.value is None:
            self._alerts.hide()
        else:
            self._alerts.show([alert_row(alert, now) for alert in data.alerts.value])
        self._slots.show([_slot_row(slot) for slot in shown.slots])
        self._executions.show([execution_row(execution, now) for execution in data.executions])
        self._receipts.show([_receipt_row(receipt, now) for receipt in data.receipts])
        self._timeline.show(data.events)
        self._updates_notice.show(data.updates.refusal)
        if data.updates.value is None:
            self._updates.hide()
        else:
            self._updates.show([update_row(update, now) for update in data.updates.value])

    def _draw_label_form(self) -> None:
        self._form = Form("Labels", "Save", self._save, test_id="label-form")
        with self._form.fields():
            ui.label("One name=value a line. Rollouts and runs choose devices by them.").classes("words")
            self._text = ui.textarea("Labels").props("outlined autogrow").classes("mono")

    def _edit(self) -> None:
        self._text.value = "\n".join(f"{name}={value}" for name, value in sorted(self._labels.items()))
        self._form.open()

    async def _save(self) -> None:
        change = DeviceChange(labels=wording.parse_labels(self._text.value or ""))

        def saved(_: Device) -> None:
            self._form.close()
            ui.notify("The labels are saved.")

        await self._page.act(lambda client: client.devices.change(self._device_id, change), saved, self._form.refuse)
        await self.live.refresh()


def _without_device(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.name != "device"]


def _draw_badges(shown: tuple[str, bool, bool]) -> None:
    state, is_online, is_flapping = shown
    badge(state, test_id="device-state")
    badge("online" if is_online else "offline", test_id="device-presence")
    if is_flapping:
        badge("flapping", test_id="device-flapping").tooltip("It comes and goes too often.")


def _draw_chips(labels: dict[str, str]) -> None:
    if not labels:
        ui.label("No labels yet.").classes("words")
    for name, value in sorted(labels.items()):
        ui.label(f"{name} = {value}").classes("chip")


def _draw_groups(names: list[str]) -> None:
    if not names:
        ui.label("It is in no group.").classes("words")
    for name in names:
        ui.link(name, group_address(name)).classes("chip")


def _draw_facts(groups: list[tuple[str, list[tuple[str, Any]]]]) -> None:
    if not groups:
        ui.label("It has not told any yet.").classes("words")
    for title, facts in groups:
        with ui.element("section").classes("fact-group"):
            ui.label(title).classes("fact-title").props('role="heading" aria-level="3"')
            Facts().show(facts)


def difference_row(one: Difference) -> dict[str, Any]:
    """Give a difference as a row."""
    return {
        "id": one.subject,
        "subject": one.subject,
        "desired": one.desired or "nothing",
        "reported": one.reported or "nothing",
        "because": one.because,
    }


def _state(shown: Device, now: datetime) -> list[tuple[str, Any]]:
    desired, reported = shown.desired, shown.reported
    since = f"for {format.span((now - shown.online_since).total_seconds())}" if shown.online_since else ""
    away = f"offline, last seen {format.age(shown.last_seen_at, now)}" if shown.last_seen_at else "not online yet"
    return [
        ("Presence", f"online {since}" if shown.online else away),
        ("Desired document", f"version {desired[1]} of epoch {desired[0]}"),
        ("Reported", f"version {reported[1]} of epoch {reported[0]}: {wording.following(desired, reported)}"),
        ("Agent", shown.agent_version),
    ]


def _slot_row(slot: Slot) -> dict[str, Any]:
    return {
        "id": f"{slot.model} {slot.slot}",
        "slot": slot.slot,
        "state": table.state(slot.state),
        "version": table.link(f"{slot.model}/{slot.version}", f"/models/{slot.model}?version={slot.version}"),
        "runtime": wording.runtime(slot.runtime),
        "sha256": table.mono(slot.sha256[:12], title=slot.sha256),
        "message": table.noted(slot.code, slot.message) if slot.code or slot.message else "",
    }


def _receipt_row(receipt: Receipt, now: datetime) -> dict[str, Any]:
    passed = "passed" if receipt.golden_passed else "failed"
    return {
        "id": receipt.id,
        "at": format.age(receipt.accepted_at, now),
        "version": table.link(
            f"{receipt.model}/{receipt.version}",
            f"/models/{receipt.model}?version={receipt.version}",
            note="fallback" if receipt.is_fallback else "",
        ),
        "runtime": wording.runtime(receipt.runtime),
        "golden": table.state(passed, note=f"agreement {format.ratio(receipt.golden_agreement)}"),
        "latency": format.milliseconds(receipt.latency_p50_ms),
        "sha256": table.mono(receipt.sha256[:12], title=receipt.sha256),
    }
