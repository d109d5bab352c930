"""`/devices`: machines that wait for approval, and the registry, a page at a time; one device stands in `device`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.layout import Notice, heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages import pending
from dashboard.pages.group_form import GroupForm
from dashboard.pages.identity import Acts
from dashboard.pages.label_edit import LabelEditForm
from dashboard.pages.pending import PendingBox
from dashboard.pages.selector_input import EXAMPLES, SelectorInput
from dashboard.parts import Part, part
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.devices import Device

_SIZE: Final = 50
_RECOUNT_S: Final = 10.0  # what a selector means changes while somebody looks
_ONLINE: Final = {"any": "Online or not", "online": "Online", "offline": "Offline"}
_STATES: Final = {"any": "Any state", **{state: state for state in ("active", "pending", "suspended", "retired")}}
_COLUMNS: Final = (
    Column(name="device", label="Device"),
    Column(name="health", label="Health"),
    Column(name="state", label="State"),
    Column(name="board", label="Board"),
    Column(name="serves", label="Serves"),
    Column(name="groups", label="Groups"),
    Column(name="labels", label="Labels"),
    Column(name="seen", label="Last seen"),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is searched for; `selector` is one that means something."""

    selector: str = ""
    q: str = ""
    online: str = "any"
    state: str = "any"

    @classmethod
    def of_query(cls, query: Mapping[str, str]) -> "Wanted":
        """Read it from a page's address; what cannot be is left out."""
        online, state = query.get("online", "any"), query.get("state", "any")
        return cls(
            selector=query.get("selector", "").strip(),
            q=query.get("q", "").strip()[:128],
            online=online if online in _ONLINE else "any",
            state=state if state in _STATES else "any",
        )

    def address(self) -> str:
        """Give the page's address, so that what is seen can be sent to somebody.

        >>> Wanted(selector='labels.site == "lyon"', online="online").address()
        '/devices?selector=labels.site+%3D%3D+%22lyon%22&online=online'
        """
        given = {"selector": self.selector, "q": self.q, "online": self.online, "state": self.state}
        query = urlencode({name: value for name, value in given.items() if value not in ("", "any")})
        return f"/devices?{query}" if query else "/devices"

    def whole_selector(self) -> str:
        """Give one selector for all but the quick search.

        >>> Wanted(selector="flapping or online", state="active").whole_selector()
        '(flapping or online) and state == active'
        >>> Wanted().whole_selector()
        'all'
        """
        terms = [f"state == {self.state}"] if self.state != "any" else []
        terms += {"online": ["online"], "offline": ["not online"]}.get(self.online, [])
        if self.selector and self.selector != "all":
            terms.insert(0, f"({self.selector})" if terms else self.selector)
        return " and ".join(terms) or "all"


@dataclass(frozen=True, kw_only=True)
class _Data:
    found: Part[PageOf[Device]]
    pending: PageOf[Device]


def device_list(page: Page) -> None:
    """Draw the page; `?selector=`, `?q=`, `?online=`, `?state=` narrow it."""
    view = _List(page)
    view.begin()


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        begin = Wanted.of_query(page.query)
        self._selector = ""
        self._group_form = GroupForm(page, self._refresh)
        self._label_form = LabelEditForm(page, self._refresh)
        with heading("Devices"):
            form.button("Enrol devices", lambda: ui.navigate.to("/enrollment-tokens"), test_id="enrol")
        self._pending = PendingBox(Acts(page, self._refresh))
        with section("", test_id="devices"):
            with ui.element("div").classes("search"):
                self._input = SelectorInput(
                    page,
                    label="Selector",
                    value=begin.selector,
                    test_id="search-selector",
                    is_search=True,
                    on_settled=self._settled,
                )
                with ui.element("div").classes("examples") as self._examples:
                    ui.label("For example").classes("hint")
                    for example in EXAMPLES:
                        button = ui.button(example, on_click=lambda _, text=example: self._try(text), color=None)
                        button.props("flat dense no-caps").classes("example mono")
            with ui.element("div").classes("filters"):
                self._q = ui.input("Id or host name", value=begin.q)
                self._q.props('outlined dense clearable debounce=250 data-testid="search"').classes("grow")
                self._online = form.select("Presence", _ONLINE).props('data-testid="online"')
                self._online.value = begin.online
                self._state = form.select("State", _STATES).props('data-testid="state"')
                self._state.value = begin.state
            with ui.element("div").classes("bulk").props('role="toolbar" aria-label="All that were found"'):
                self._count = ui.label("").classes("found").props('role="status" data-testid="found"')
                ui.element("div").classes("grow")
                self._bulk_hint = ui.label("Clear the quick search to change what was found.").classes("hint")
                self._edit = form.button("Edit labels", self._edit_labels, test_id="edit-found-labels")
                self._save = form.button("Save as group", self._save_group, test_id="save-group")
                ui.label("Export").classes("hint")
                self._csv = self._export("CSV")
                self._json = self._export("JSON")
            self._refusal = Notice(test_id="search-refusal")
            self._table = Table(
                _COLUMNS,
                nothing="No device is like that. Enrol one with a token, or search for less.",
                test_id="device-table",
            )
            self._pager = Pager[Device](size=_SIZE, on_move=self._refresh)
        for field in (self._q, self._online, self._state):
            field.on_value_change(self._search)

    def begin(self) -> None:
        self._selector = self._input.text
        self._live = self._page.live(self._load, self._show)
        self._show_wanted()
        ui.timer(_RECOUNT_S, self._recount)

    def _export(self, name: str) -> ui.link:
        link = ui.link(name, "/export/devices").classes("export")
        link.props["aria-label"] = f"Export all that were found as {name}"
        return link.props(f'download data-testid="export-{name.lower()}"')

    def _wanted(self) -> Wanted:
        return Wanted(
            selector=self._selector,
            q=(self._q.value or "").strip()[:128],
            online=self._online.value,
            state=self._state.value,
        )

    async def _try(self, example: str) -> None:
        self._input.put(example)
        await self._input.box.look()

    async def _recount(self) -> None:
        if self._input.text and self._input.text == self._selector:
            await self._input.box.look()

    async def _settled(self, selector: str) -> None:
        wanted = selector.strip()
        if wanted != self._selector:
            self._selector = wanted
            await self._search()

    async def _search(self) -> None:
        self._pager.restart()
        self._show_wanted()
        ui.navigate.history.replace(self._wanted().address())
        await self._refresh()

    def _show_wanted(self) -> None:
        wanted = self._wanted()
        self._examples.set_visibility(not wanted.selector)
        for link, kind in ((self._csv, "csv"), (self._json, "json")):
            query = {"format": kind, "selector": wanted.whole_selector(), "q": wanted.q}
            link.props["href"] = f"/export/devices?{urlencode(query)}"
            link.update()

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> _Data:
        wanted = self._wanted()
        selector, cursor = wanted.whole_selector(), self._pager.cursor
        found = part(lambda: client.devices.list(selector=selector, q=wanted.q, limit=_SIZE, cursor=cursor))
        return _Data(found=found, pending=client.devices.list(selector="state == pending", limit=pending.SIZE))

    def _show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        self._pending.show(data.pending)
        self._refusal.show(data.found.refusal)
        found = data.found.value
        if found is None:
            self._table.hide()
            self._count.set_text("")
        else:
            self._table.show([device_row(device, now) for device in found.items])
            self._pager.show(found)
            self._count.set_text("" if found.total is None else f"{format.count(found.total)} found")
        # A quick search is no selector, so what it found cannot be meant by one.
        self._bulk_hint.set_visibility(bool(self._wanted().q))
        for act in (self._edit, self._save):
            act.set_enabled(not self._wanted().q)

    def _edit_labels(self) -> None:
        self._label_form.open(self._meant())

    def _save_group(self) -> None:
        self._group_form.create(self._meant())

    def _meant(self) -> str:
        return self._wanted().whole_selector()


def device_row(device: Device, now: datetime) -> dict[str, Any]:
    """Give a device as a row of the table."""
    serving = [f"{slot.model}/{slot.version}" for slot in device.slots if slot.state == "serving"]
    follows = wording.following(device.desired, device.reported)
    behind = follows if device.state == "active" and follows != "in step" else ""
    facts = device.facts
    board = str(facts.get("board") or facts.get("cpu_model") or "")
    return {
        "id": device.id,
        "device": table.link(device.id, f"/devices/{device.id}", note=str(facts.get("hostname") or ""), mono=True),
        "health": table.states(*wording.health(device)),
        "state": table.state(device.state, note=device.state_reason),
        "board": table.clipped(board, str(facts.get("machine") or "")),
        "serves": table.noted(", ".join(serving), behind or wording.runtimes(device)),
        "groups": table.tags(device.groups, group_address),
        "labels": table.clipped(wording.labels(device.labels)),
        "seen": format.age(device.last_seen_at, now),
    }


def group_address(name: str) -> str:
    """Give the address of a group's devices."""
    return Wanted(selector=f'group == "{name}"').address()


def selector_address(selector: str) -> str:
    """Give the address of the devices that a selector means."""
    return Wanted(selector=selector).address()
