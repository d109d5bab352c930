"""`/groups`, `/groups/{name}`: selectors that are saved, who is in them, and the telemetry of one."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format
from dashboard.components import form, table
from dashboard.components.layout import Anchor, Facts, Figure, grid, heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Live, Page
from dashboard.pages.devices import group_address
from dashboard.pages.group_form import GroupForm
from dashboard.pages.telemetry import Charts, TelemetryBox
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.groups import Group

_SIZE: Final = 50


def group_list(page: Page) -> None:
    """Draw the page of all groups."""
    _List(page).begin()


def group(page: Page, name: str) -> None:
    """Draw the page of one group."""
    view = _View(page, name)
    view.live = page.live(view.load, view.show)


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._shown: dict[str, Group] = {}
        self._form = GroupForm(page, self._refresh)
        with heading("Groups"):
            form.button("New group", self._form.create, test_id="new-group", is_primary=True)
        with section("", test_id="groups"):
            self._table = Table(
                [
                    Column(name="name", label="Group"),
                    Column(name="selector", label="Devices that", is_long=True),
                    Column(name="devices", label="Members", is_number=True),
                    Column(name="online", label="Online"),
                    Column(name="by", label="Saved"),
                    Column(name="acts", label=""),
                ],
                nothing="No group yet. Save a selector under a name: rollouts, rules and commands can then mean it.",
                test_id="group-table",
                on_act=self._act,
            )
            self._pager = Pager[Group](size=_SIZE, on_move=self._refresh)
        self._dialogs = ui.element("div").style("display: none")

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[Group]:
        return client.groups.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[Group]) -> None:
        now = datetime.now(UTC)
        self._shown = {shown.name: shown for shown in found.items}
        self._table.show([group_row(shown, now) for shown in found.items])
        self._pager.show(found)

    def _act(self, name: str, what: str) -> None:
        shown = self._shown.get(name)
        if shown is None:
            return
        if what == "Change":
            self._form.change(shown)
        else:
            with self._dialogs:
                _ask_to_delete(self._page, name, self._refresh)


class _View:
    live: Live[tuple[Group, Charts]]

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._name = name
        self._group: Group | None = None
        self._form = GroupForm(page, self._refresh)
        self._dialogs = ui.element("div").style("display: none")
        with heading(name, under=[("Groups", "/groups")]):
            form.button("Devices", lambda: ui.navigate.to(group_address(name)), test_id="group-devices")
            form.button("Change", self._change, test_id="change-group")
            form.button("Delete", self._delete, test_id="delete-group")
        with grid("figures"):
            self._devices = Figure("Members", href=group_address(name), test_id="members")
            self._online = Figure("Online", test_id="members-online")
        with section("Group"):
            self._facts = Facts()
        self._telemetry = TelemetryBox(self._refresh, selector=f'group == "{name}"')

    def load(self, client: Client) -> tuple[Group, Charts]:
        return client.groups.show(self._name), self._telemetry.load(client)

    async def _refresh(self) -> None:
        await self.live.refresh()

    def show(self, data: tuple[Group, Charts]) -> None:
        now = datetime.now(UTC)
        shown, charts = data
        self._group = shown
        self._devices.show(format.count(shown.devices))
        self._online.show(format.count(shown.online), online_share(shown))
        self._facts.show(
            [
                ("Devices that", shown.selector),
                ("For", shown.description),
                ("Saved", f"{format.age(shown.created_at, now)} by {shown.created_by}"),
                ("Changed", format.age(shown.updated_at, now) if shown.updated_at != shown.created_at else ""),
                ("In a selector", Anchor(f'group == "{shown.name}"', group_address(shown.name))),
            ]
        )
        self._telemetry.show(charts)

    def _change(self) -> None:
        if self._group is not None:
            self._form.change(self._group)

    def _delete(self) -> None:
        async def away() -> None:
            ui.navigate.to("/groups")

        with self._dialogs:
            _ask_to_delete(self._page, self._name, away)


def group_row(shown: Group, now: datetime) -> dict[str, Any]:
    """Give a group as a row."""
    share = shown.online / shown.devices if shown.devices else 0.0
    words = f"{format.count(shown.online)} of {format.count(shown.devices)}"
    return {
        "id": shown.name,
        "name": table.link(shown.name, f"/groups/{shown.name}", note=shown.description),
        "selector": table.mono(shown.selector),
        "devices": format.count(shown.devices),
        "online": table.share(share, words) if shown.devices else "",
        "by": table.noted(format.age(shown.created_at, now), f"by {shown.created_by}"),
        "acts": table.actions("Change", grave="Delete"),
    }


def online_share(shown: Group) -> str:
    """Say which share of a group is online; nothing of an empty one."""
    return f"{format.ratio(shown.online / shown.devices)} of them" if shown.devices else ""


def _ask_to_delete(page: Page, name: str, then: Callable[[], Awaitable[None]]) -> None:
    async def delete() -> None:
        deleted = False

        def told(_: None) -> None:
            nonlocal deleted
            deleted = True
            ui.notify(f"Group {name} is deleted.")

        await page.act(lambda client: client.groups.delete(name), told)
        if deleted:
            await then()

    question = f"Delete group {name}?\nIts devices stay as they are. What asks for it by name means no device then."
    form.confirm(question, "Delete it", delete).open()
