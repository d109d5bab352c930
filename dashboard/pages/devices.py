"""`/devices`: machines that wait for approval, and the registry, a page at a time; one device stands in `device`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.layout import heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages import pending
from dashboard.pages.identity import Acts
from dashboard.pages.pending import PendingBox
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.devices import Device

_SIZE: Final = 50
_ONLINE: Final = {"any": "Online or not", "online": "Online", "offline": "Offline"}
_STATES: Final = {"any": "Any state", **{state: state for state in ("active", "pending", "suspended", "retired")}}


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What is searched for."""

    q: str
    online: bool | None
    state: str | None


@dataclass(frozen=True, kw_only=True)
class _Data:
    found: PageOf[Device]
    pending: PageOf[Device]


def device_list(page: Page) -> None:
    """Draw the page."""
    view = _List(page)
    view.begin()


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        with heading("Devices"):
            form.button("Enrol devices", lambda: ui.navigate.to("/enrollment-tokens"), test_id="enrol")
        self._pending = PendingBox(Acts(page, self._refresh))
        with section("", test_id="devices"):
            with ui.element("div").classes("filters"):
                self._q = ui.input("Id or host name", value=page.query.get("q", "")[:128])
                self._q.props('outlined dense clearable debounce=250 data-testid="search"').classes("grow")
                online = page.query.get("online", "any")
                self._online = form.select("Presence", _ONLINE).props('data-testid="online"')
                self._online.value = online if online in _ONLINE else "any"
                state = page.query.get("state", "any")
                self._state = form.select("State", _STATES).props('data-testid="state"')
                self._state.value = state if state in _STATES else "any"
            self._table = Table(
                [
                    Column(name="device", label="Device"),
                    Column(name="presence", label="Presence"),
                    Column(name="state", label="State"),
                    Column(name="serves", label="Serves"),
                    Column(name="follows", label="Desired"),
                    Column(name="labels", label="Labels"),
                    Column(name="seen", label="Last seen"),
                ],
                nothing="No device is like that. Enrol one with a token, or search for less.",
                test_id="device-table",
            )
            self._pager = Pager[Device](size=_SIZE, on_move=self._refresh)
        for field in (self._q, self._online, self._state):
            field.on_value_change(self._search)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    def _wanted(self) -> _Wanted:
        return _Wanted(
            q=(self._q.value or "").strip()[:128],
            online={"online": True, "offline": False}.get(self._online.value),
            state=None if self._state.value == "any" else self._state.value,
        )

    async def _search(self) -> None:
        self._pager.restart()
        await self._refresh()

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> _Data:
        wanted = self._wanted()
        found = client.devices.list(
            q=wanted.q, state=wanted.state, online=wanted.online, limit=_SIZE, cursor=self._pager.cursor
        )
        return _Data(found=found, pending=client.devices.list(state="pending", limit=pending.SIZE))

    def _show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        self._pending.show(data.pending)
        self._table.show([device_row(device, now) for device in data.found.items])
        self._pager.show(data.found)


def device_row(device: Device, now: datetime) -> dict[str, Any]:
    """Give a device as a row."""
    serving = [f"{slot.model}/{slot.version}" for slot in device.slots if slot.state == "serving"]
    follows = wording.following(device.desired, device.reported)
    return {
        "id": device.id,
        "device": table.link(
            device.id, f"/devices/{device.id}", note=str(device.facts.get("hostname") or ""), mono=True
        ),
        "state": table.state(device.state, note=device.state_reason),
        "presence": table.state("online" if device.online else "offline"),
        "serves": table.noted(", ".join(serving), wording.runtimes(device)),
        "follows": follows if device.state == "active" else "",
        "labels": table.clipped(wording.labels(device.labels)),
        "seen": format.age(device.last_seen_at, now),
    }
