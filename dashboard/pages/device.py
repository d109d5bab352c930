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
from dashboard.pages.activity import EVENT_COLUMNS, event_row
from dashboard.pages.commands import CommandBox
from dashboard.pages.executions import EXECUTION_COLUMNS, execution_row
from dashboard.pages.identity import Acts, IdentityCard, IdentityTables
from dashboard.pages.incremental import UPDATE_COLUMNS, update_row
from dashboard.parts import Part, part
from shoal.client import ApiError, Client
from shoal.schemas.devices import (
    Certificate,
    Device,
    DeviceChange,
    DeviceSession,
    Event,
    Receipt,
    Slot,
    Telemetry,
)
from shoal.schemas.executions import Execution
from shoal.schemas.incremental import IncrementalUpdate

_ROWS: Final = 15
_NAMED: Final = 3  # newest commands whose names are asked for


@dataclass(frozen=True, kw_only=True)
class _Data:
    device: Device
    certificates: list[Certificate]
    sessions: list[DeviceSession]
    receipts: list[Receipt]
    executions: list[Execution]
    events: list[Event]
    telemetry: Telemetry | None
    updates: Part[list[IncrementalUpdate]]


def device(page: Page, device_id: str) -> None:
    """Draw the page."""
    view = _View(page, device_id)
    view.live = page.live(view.load, view.show)


def _load(client: Client, device_id: str) -> _Data:
    return _Data(
        device=client.devices.show(device_id),
        certificates=client.devices.certificates(device_id).items,
        sessions=client.devices.sessions(device_id).items,
        receipts=client.devices.receipts(device_id, limit=_ROWS).items,
        executions=client.executions.list(device_id=device_id, limit=_ROWS).items,
        events=client.devices.events(device_id, limit=_ROWS).items,
        telemetry=_telemetry(client, device_id),
        updates=part(lambda: client.incremental_updates.list(device_id=device_id, limit=_ROWS).items),
    )


def _telemetry(client: Client, device_id: str) -> Telemetry | None:
    try:
        return client.devices.telemetry(device_id)
    except ApiError as error:
        if error.code == "telemetry.not_found":
            return None
        raise


class _View:
    live: Live[_Data]

    def __init__(self, page: Page, device_id: str) -> None:
        self._page = page
        self._device_id = device_id
        self._labels: dict[str, str] = {}
        self._command_names: dict[str, str] = {}
        acts = Acts(page, self._refresh)
        with heading(device_id, under=[("Devices", "/devices")]):
            self._badges = Region("actions")
        self._draw_label_form()
        with grid():
            with ui.element("div").classes("content"):
                self._identity = IdentityCard(acts)
                with section("Facts", hint="signed by the device", test_id="facts"):
                    self._facts = Facts()
            with ui.element("div").classes("content"):
                self._commands = CommandBox(page, device_id, self._refresh)
                with section("Labels", test_id="labels") as actions:
                    self._chips = Region("chips")
                with actions:
                    form.button("Edit", self._edit, test_id="edit-labels")
                with section("Link", test_id="state"):
                    self._state = Facts()
                with section("Telemetry", hint="unsigned, the latest sample", test_id="telemetry"):
                    self._telemetry = Facts()
                    self._telemetry_notice = Notice()
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
        with section("Events", test_id="events", wide=True):
            self._events = Table(_without_device(EVENT_COLUMNS), nothing="Nothing has happened to it yet.")

    def load(self, client: Client) -> _Data:
        data = _load(client, self._device_id)
        owners = [execution.owner_id for execution in data.executions if execution.kind == "command"][:_NAMED]
        for command_id in owners:
            if command_id not in self._command_names:  # it never changes
                self._command_names[command_id] = client.commands.show(command_id).name
        return data

    async def _refresh(self) -> None:
        await self.live.refresh()

    def show(self, data: _Data) -> None:
        now, shown = datetime.now(UTC), data.device
        self._labels = shown.labels
        self._badges.show((shown.state, shown.online), _draw_badges)
        self._chips.show(shown.labels, _draw_chips)
        self._facts.show(_facts(shown))
        self._state.show(_state(shown, now))
        self._identity.show(shown, data.certificates, now)
        self._commands.show(data.executions, self._command_names, shown.state, now)
        self._trust.show(data.certificates, data.sessions, now)
        self._telemetry.show([] if data.telemetry is None else _sample(data.telemetry, now))
        self._telemetry_notice.show("" if data.telemetry else "This device has not sent a sample yet.")
        self._slots.show([_slot_row(slot) for slot in shown.slots])
        self._executions.show([execution_row(execution, now) for execution in data.executions])
        self._receipts.show([_receipt_row(receipt, now) for receipt in data.receipts])
        self._events.show([event_row(event, now) for event in data.events])
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


def _draw_badges(shown: tuple[str, bool]) -> None:
    state, is_online = shown
    badge(state, test_id="device-state")
    badge("online" if is_online else "offline", test_id="device-presence")


def _draw_chips(labels: dict[str, str]) -> None:
    if not labels:
        ui.label("No labels yet.").classes("words")
    for name, value in sorted(labels.items()):
        ui.label(f"{name} = {value}").classes("chip")


def _facts(shown: Device) -> list[tuple[str, Any]]:
    facts = shown.facts
    offered = facts.get("runtimes")
    versions = sorted(offered.items()) if isinstance(offered, dict) else []
    return [
        ("Host name", facts.get("hostname")),
        ("Machine", facts.get("machine")),
        ("System", facts.get("system")),
        ("CPU", facts.get("cpu_model")),
        ("Cores", facts.get("cpu_cores")),
        ("Memory", _bytes(facts.get("memory_bytes"))),
        ("Free disk", _bytes(facts.get("disk_free_bytes"))),
        ("Runtimes", ", ".join(f"{wording.runtime(name)} {version}" for name, version in versions)),
        ("Can train", "" if facts.get("can_train") is None else "yes" if facts["can_train"] else "no"),
        ("Inference", facts.get("inference_url")),
        ("Python", facts.get("python")),
        ("Time zone", facts.get("time_zone")),
    ]


def _bytes(amount: object) -> str:
    return format.size(amount) if isinstance(amount, int) else ""


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


def _sample(telemetry: Telemetry, now: datetime) -> list[tuple[str, Any]]:
    body = telemetry.body
    facts: list[tuple[str, Any]] = [
        ("Taken", format.age(telemetry.received_at, now)),
        ("CPU in use", format.ratio(body["cpu_ratio"]) if body.get("cpu_ratio") is not None else ""),
        ("Memory free", _bytes(body.get("memory_available_bytes"))),
        ("Agent's memory", _bytes(body.get("agent_rss_bytes"))),
    ]
    for served in body.get("models") or []:
        words = f"{format.count(served.get('requests'))} requests, {format.count(served.get('failures'))} failed"
        if served.get("latency_p50_ms") is not None:
            p50, p95 = (format.milliseconds(served.get(f"latency_{name}_ms")) for name in ("p50", "p95"))
            words = f"{words}, median {p50}, 95% below {p95}"
        facts.append((f"{served.get('model')}/{served.get('version')}", words))
    return facts


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
