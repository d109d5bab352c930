"""`/activity`: what happened, whom the controller refused, and who changed what."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import table
from dashboard.components.layout import heading
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import Client
from shoal.client.observe import Entry
from shoal.schemas.common import Page as PageOf
from shoal.schemas.devices import Event, Refusal

EVENT_COLUMNS: Final = (
    Column(name="at", label="When"),
    Column(name="what", label="What", is_long=True),
    Column(name="name", label="Event"),
    Column(name="device", label="Device"),
)
_REFUSAL_COLUMNS: Final = (
    Column(name="at", label="Last"),
    Column(name="device", label="Sender"),
    Column(name="code", label="Code"),
    Column(name="count", label="Times", is_number=True),
    Column(name="message", label="Why", is_long=True),
)
_AUDIT_COLUMNS: Final = (
    Column(name="at", label="When"),
    Column(name="actor", label="Who"),
    Column(name="action", label="Did"),
    Column(name="subject", label="To"),
    Column(name="data", label="With", is_long=True),
)
_TABS: Final = {"events": "Events", "refusals": "Refusals", "audit": "Audit"}
_SIZE: Final = 50


def event_row(event: Event, now: datetime) -> dict[str, Any]:
    """Give an event as a row of `EVENT_COLUMNS`."""
    return {
        "id": event.id,
        "at": format.age(event.at, now),
        "what": table.link(wording.event(event), href) if (href := address(event)) else wording.event(event),
        "name": table.mono(event.name),
        "device": device_cell(event.device_id or ""),
    }


def address(event: Event) -> str:
    """Give the page of what an event is about; empty where there is none, or the device's column has it."""
    noun = event.name.partition(".")[0]
    if noun == "version":
        model, _, number = event.subject.rpartition("/")
        return f"/models/{model}?version={number}"
    pages = {
        "rollout": f"/rollouts/{event.subject}",
        "federated_run": f"/federated-runs/{event.subject}",
        "federated_round": f"/federated-runs/{event.subject}",
        "model": f"/models/{event.subject}",
        "command": f"/executions?owner={event.subject}",
        "job": "/jobs",
        "alert": "/alerts",
        "group": f"/groups/{event.subject}" if event.name != "group.deleted" else "",
        "incremental_policy": "/incremental",
        "incremental_update": "/incremental",
    }
    return pages.get(noun, "")


def device_cell(device_id: str) -> table.Cell:
    """Give a cell that leads to a device; what is no device's id is only told."""
    if device_id.startswith("d-"):
        return table.link(device_id, f"/devices/{device_id}", mono=True)
    return table.mono(device_id) if device_id else ""


@dataclass(frozen=True, kw_only=True)
class _Data:
    """What the open tab shows; the others are None."""

    events: PageOf[Event] | None = None
    refusals: list[Refusal] | None = None
    audit: PageOf[Entry] | None = None


def activity(page: Page) -> None:
    """Draw the page; `?tab=` opens one of `events`, `refusals`, `audit`."""
    with heading("Activity"):
        pass
    _View(page).begin()


class _View:
    def __init__(self, page: Page) -> None:
        self._page = page
        wanted = page.query.get("tab", "")
        with ui.element("section").classes("box"):
            with ui.tabs() as self._tabs:
                self._tabs.props('dense no-caps align="left" inline-label').classes("tabs")
                for name, label in _TABS.items():
                    ui.tab(name, label)
            opened = wanted if wanted in _TABS else "events"
            with ui.tab_panels(self._tabs, value=opened, animated=False).classes("panels"):
                with ui.tab_panel("events"):
                    self._events = Table(EVENT_COLUMNS, nothing="Nothing has happened yet.", test_id="events")
                    self._event_pager = Pager[Event](size=_SIZE, on_move=self._refresh)
                with ui.tab_panel("refusals"):
                    self._refusals = Table(_REFUSAL_COLUMNS, nothing="Nobody was refused.", test_id="refusals")
                with ui.tab_panel("audit"):
                    self._audit = Table(_AUDIT_COLUMNS, nothing="Nobody has changed anything yet.", test_id="audit")
                    self._audit_pager = Pager[Entry](size=_SIZE, on_move=self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)
        self._tabs.on_value_change(self._refresh)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> _Data:
        if self._tabs.value == "refusals":
            return _Data(refusals=client.observe.refusals())
        if self._tabs.value == "audit":
            return _Data(audit=client.observe.audit(limit=_SIZE, cursor=self._audit_pager.cursor))
        return _Data(events=client.observe.events(limit=_SIZE, cursor=self._event_pager.cursor))

    def _show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        if data.events is not None:
            self._events.show([event_row(event, now) for event in data.events.items])
            self._event_pager.show(data.events)
        if data.refusals is not None:
            self._refusals.show([_refusal_row(refusal, now) for refusal in data.refusals])
        if data.audit is not None:
            self._audit.show([_audit_row(entry.root, now) for entry in data.audit.items])
            self._audit_pager.show(data.audit)


def _refusal_row(refusal: Refusal, now: datetime) -> dict[str, Any]:
    return {
        "id": f"{refusal.device_id} {refusal.code}",
        "at": format.age(refusal.last_at, now),
        "device": device_cell(refusal.device_id or "unknown"),
        "code": table.mono(refusal.code),
        "count": format.count(refusal.count),
        "message": refusal.message,
    }


def _audit_row(entry: dict[str, Any], now: datetime) -> dict[str, Any]:
    subject = str(entry.get("subject", ""))
    data = entry.get("data") or {}
    return {
        "id": entry.get("id"),
        "at": format.age(format.moment(entry.get("at")), now),
        "actor": str(entry.get("actor", "")),
        "action": table.mono(str(entry.get("action", ""))),
        "subject": device_cell(subject)
        if subject.startswith("d-")
        else table.mono(format.tail(subject), title=subject),
        "data": ", ".join(f"{name}: {value}" for name, value in data.items()),
    }
