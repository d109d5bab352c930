"""`/`: the fleet at a glance."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nicegui import ui

from dashboard import format
from dashboard.components import table
from dashboard.components.badge import badge
from dashboard.components.layout import Figure, Region, empty, grid, heading, section
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages.activity import EVENT_COLUMNS, event_row
from shoal.client import Client
from shoal.schemas.devices import Event, FleetSummary

_EVENTS = 12


@dataclass(frozen=True, kw_only=True)
class _Data:
    fleet: FleetSummary
    events: list[Event]


def overview(page: Page) -> None:
    """Draw the page."""
    with heading("Fleet"):
        pass
    view = _View()
    page.live(_load, view.show)


def _load(client: Client) -> _Data:
    return _Data(fleet=client.devices.fleet(), events=client.observe.events(limit=_EVENTS).items)


class _View:
    def __init__(self) -> None:
        with grid("figures"):
            self._total = Figure("Devices", href="/devices", test_id="fleet-total")
            self._online = Figure("Online", href="/devices?online=online", test_id="fleet-online")
            self._offline = Figure("Offline", href="/devices?online=offline", test_id="fleet-offline")
            self._refusals = Figure("Refused messages", href="/activity?tab=refusals", test_id="fleet-refusals")
        self._pending = Region()
        self._hint = Region()
        with grid():
            with section("Devices by state", test_id="states"):
                self._states = Region("inside")
            with section("Executions of the last day", test_id="executions"):
                self._executions = Region("inside")
            with section("Versions that are served", hint="by each device's latest receipt", wide=True):
                self._versions = Table(
                    [
                        Column(name="version", label="Version"),
                        Column(name="devices", label="Devices", is_number=True),
                        Column(name="share", label="Share of the fleet"),
                    ],
                    nothing="No device has proven a version yet. Register a model, compress it, and roll it out.",
                    test_id="versions",
                )
            with section("Latest events", wide=True) as actions:
                self._events = Table(EVENT_COLUMNS, nothing="Nothing has happened yet.", test_id="events")
            with actions:
                ui.link("All activity", "/activity")

    def show(self, data: _Data) -> None:
        fleet, now = data.fleet, datetime.now(UTC)
        offline = fleet.total - fleet.online
        self._total.show(format.count(fleet.total))
        self._online.show(format.count(fleet.online), _share(fleet.online, fleet.total))
        self._offline.show(format.count(offline), _share(offline, fleet.total))
        self._refusals.show(format.count(fleet.refusals), "since the beginning")
        self._pending.show(fleet.states.get("pending", 0), _draw_pending)
        self._hint.show(fleet.total == 0, _draw_hint)
        self._states.show(fleet.states, _draw_states)
        self._executions.show(fleet.executions, _draw_executions)
        self._versions.show([_version_row(name, count, fleet.total) for name, count in fleet.versions.items()])
        self._events.show([event_row(event, now) for event in data.events])


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%} of the fleet" if whole else ""


def _draw_pending(count: int) -> None:
    if count:
        waits = "1 machine waits" if count == 1 else f"{format.count(count)} machines wait"
        with ui.link(target="/devices").classes("call").props('data-testid="fleet-pending"'):
            ui.icon("how_to_reg")
            ui.label(f"{waits} for approval")


def _draw_hint(is_empty: bool) -> None:
    if is_empty:
        with ui.element("section").classes("box"), empty("No device has enrolled itself yet.", icon="sailing"):
            ui.link("Make an enrolment token, and start an agent with it", "/enrollment-tokens")


def _draw_states(states: dict[str, int]) -> None:
    if not states:
        ui.label("No devices yet.").classes("words")
    for state, count in sorted(states.items()):
        _draw_count(state, count, sum(states.values()))


def _draw_executions(executions: dict[str, int]) -> None:
    if not executions:
        ui.label("Nothing was asked of a device in the last day.").classes("words")
    for state, count in sorted(executions.items(), key=lambda found: -found[1]):
        _draw_count(state, count, sum(executions.values()))


def _draw_count(state: str, count: int, whole: int) -> None:
    with ui.element("div").classes("count"):
        badge(state)
        with ui.element("div").classes("track"):
            ui.element("div").classes("fill even").style(f"width: {count / whole:.1%}")
        ui.label(format.count(count)).classes("number").props(f'data-testid="count-{state}"')


def _version_row(name: str, count: int, total: int) -> dict[str, Any]:
    model, _, number = name.rpartition("/")
    return {
        "id": name,
        "version": table.link(name, f"/models/{model}?version={number}"),
        "devices": format.count(count),
        "share": table.progress(count / total if total else 0),
    }
