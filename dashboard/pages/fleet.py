"""`/`: the fleet at a glance."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from nicegui import ui

from dashboard import format
from dashboard.components import fleet_map, form, table
from dashboard.components.badge import badge
from dashboard.components.fleet_map import PARTS, FleetMap, Tile
from dashboard.components.layout import Figure, Notice, Region, empty, grid, heading, section
from dashboard.components.table import Column, Table
from dashboard.page import Live, Page
from dashboard.pages.activity import EVENT_COLUMNS, event_row
from dashboard.pages.alert_list import ALERT_COLUMNS, alert_row
from dashboard.pages.devices import selector_address
from dashboard.parts import Part, part
from shoal.client import Client
from shoal.schemas.devices import Event, FleetSummary, Health
from shoal.schemas.devices import FleetMap as Map
from shoal.schemas.telemetry import Alert

_EVENTS: Final = 12
_ALERTS: Final = 8
_RULES: Final = 200  # whose alerts are counted
_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")  # what the selector language takes without quotes
_COUNTED: Final = "state in (active, suspended)"  # what the map counts
_NO_LABEL: Final = ""  # the whole fleet as one


@dataclass(frozen=True, kw_only=True)
class _Firing:
    """Alerts that fire: the newest, and how many."""

    newest: list[Alert]
    count: int


@dataclass(frozen=True, kw_only=True)
class _Data:
    fleet: FleetSummary
    events: list[Event]
    map: Part[Map]
    alerts: Part[_Firing]


def overview(page: Page) -> None:
    """Draw the page; `?label=` is what the map is by."""
    view = _View(page)
    view.live = page.live(view.load, view.show)


class _View:
    live: Live[_Data]

    def __init__(self, page: Page) -> None:
        self._wanted = page.query.get("label", "")[:64] or None
        with heading("Fleet"):
            pass
        with grid("figures"):
            self._total = Figure("Devices", href="/devices", test_id="fleet-total")
            self._online = Figure("Online", href="/devices?online=online", test_id="fleet-online")
            self._offline = Figure("Offline", href="/devices?online=offline", test_id="fleet-offline")
            self._firing = Figure("Alerts that fire", href="/alerts", test_id="fleet-firing")
            self._refusals = Figure("Refused messages", href="/activity?tab=refusals", test_id="fleet-refusals")
        self._pending = Region()
        self._hint = Region()
        with section("Health", hint="of active and suspended devices", test_id="health") as actions:
            self._map = FleetMap(label="Health of the fleet", test_id="fleet-map")
            fleet_map.legend()
            self._map_notice = Notice()
        with actions:
            self._label = form.select("By label", {_NO_LABEL: "none: the whole fleet"})
            self._label.props('data-testid="map-label"')
            self._label.value = _NO_LABEL
            self._label.on_value_change(self._choose)
        with section("Alerts that fire", hint="newest first", test_id="firing") as actions:
            self._alerts = Table(ALERT_COLUMNS, nothing="No alert fires.", test_id="firing-table")
            self._alerts_notice = Notice()
        with actions:
            ui.link("All alerts", "/alerts")
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

    async def _choose(self) -> None:
        if self._label.value != self._wanted:
            self._wanted = self._label.value
            ui.navigate.history.replace(f"/?{urlencode({'label': self._wanted})}" if self._wanted else "/")
            await self.live.refresh()

    def load(self, client: Client) -> _Data:
        label = self._wanted
        if label is None:  # nobody has chosen: by the label that most devices have
            found = part(client.devices.fleet_map)
            names = found.value.labels if found.value else []
            label = names[0] if names else ""
        chosen = label
        return _Data(
            fleet=client.devices.fleet(),
            events=client.observe.events(limit=_EVENTS).items,
            map=part(lambda: client.devices.fleet_map(chosen or None)),
            alerts=part(lambda: _firing(client)),
        )

    def show(self, data: _Data) -> None:
        fleet, now = data.fleet, datetime.now(UTC)
        offline = fleet.total - fleet.online
        self._total.show(format.count(fleet.total))
        self._online.show(format.count(fleet.online), _share(fleet.online, fleet.total))
        self._offline.show(format.count(offline), _share(offline, fleet.total))
        self._refusals.show(format.count(fleet.refusals), "since the beginning")
        self._show_map(data.map)
        self._show_alerts(data.alerts, now)
        self._pending.show(fleet.states.get("pending", 0), _draw_pending)
        self._hint.show(fleet.total == 0, _draw_hint)
        self._states.show(fleet.states, _draw_states)
        self._executions.show(fleet.executions, _draw_executions)
        self._versions.show([_version_row(name, count, fleet.total) for name, count in fleet.versions.items()])
        self._events.show([event_row(event, now) for event in data.events])

    def _show_map(self, found: Part[Map]) -> None:
        shown = found.value
        self._map.set_visibility(shown is not None)
        if shown is None:
            self._map_notice.show(found.refusal)
            return
        options = {_NO_LABEL: "none: the whole fleet", **{name: name for name in shown.labels}}
        if shown.label and shown.label not in options:
            options[shown.label] = shown.label
        if options != self._label.options or (self._wanted is None and self._label.value != (shown.label or "")):
            self._wanted = shown.label or _NO_LABEL
            self._label.set_options(options, value=self._wanted)
        self._map.show([tile(cell, shown.label) for cell in shown.cells])
        hidden = f"{format.count(shown.hidden)} more values have fewer devices and are not shown."
        self._map_notice.show(hidden if shown.hidden else "")

    def _show_alerts(self, found: Part[_Firing], now: datetime) -> None:
        self._alerts_notice.show(found.refusal)
        if found.value is None:
            self._alerts.hide()
            return
        self._alerts.show([alert_row(alert, now) for alert in found.value.newest])
        self._firing.show(format.count(found.value.count))


def _firing(client: Client) -> _Firing:
    rules = client.alert_rules.list(limit=_RULES).items
    newest = client.alerts.list(state="firing", limit=_ALERTS).items
    return _Firing(newest=newest, count=sum(rule.firing for rule in rules))


def tile(cell: Health, label: str | None) -> Tile:
    """Give a cell of the map; it leads to its devices."""
    terms = [_COUNTED]
    if label is None:
        name = "All devices"
    elif cell.value is None:
        name = f"without {label}"
        terms.insert(0, f"not labels has {json.dumps(label, ensure_ascii=False)}")
    else:
        name = cell.value or '""'
        terms.insert(0, f"{label_path(label)} == {json.dumps(cell.value, ensure_ascii=False)}")
    return Tile(
        name=name,
        href=selector_address(" and ".join(terms)),
        total=cell.total,
        counts={part: int(getattr(cell, part)) for part in PARTS},
    )


def label_path(label: str) -> str:
    """Spell a label in a selector.

    >>> label_path("site"), label_path("a/b")
    ('labels.site', 'labels["a/b"]')
    """
    return f"labels.{label}" if _BARE.fullmatch(label) else f"labels[{json.dumps(label, ensure_ascii=False)}]"


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
