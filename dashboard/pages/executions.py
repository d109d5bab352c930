"""`/executions`: each device's share of the work, what it waits for, why it ended; and the commands given."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format
from dashboard.components import form, table
from dashboard.components.layout import heading
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages.activity import device_cell
from dashboard.pages.commands import COMMAND_COLUMNS, CommandForm, command_row, log_path
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.executions import Command, Execution
from shoal.schemas.waiting import waiting

EXECUTION_COLUMNS: Final = (
    Column(name="at", label="Asked"),
    Column(name="state", label="State"),
    Column(name="kind", label="Kind"),
    Column(name="device", label="Device"),
    Column(name="waiting", label="Waits for", is_long=True),
    Column(name="attempt", label="Attempt", is_number=True),
    Column(name="message", label="Said", is_long=True),
)
_STATES: Final = (
    "queued",
    "sent",
    "in_progress",
    "succeeded",
    "failed",
    "rejected",
    "timed_out",
    "canceled",
)
_KINDS: Final = ("rollout_step", "federated_round", "incremental_update", "command")
_PRIORITIES: Final = {10: "low priority", 30: "high priority"}
_TABS: Final = {"executions": "Executions", "commands": "Commands"}
_ID_LENGTH: Final = 64
_SIZE: Final = 50


def executions(page: Page) -> None:
    """Draw the page; `?tab=commands` opens the commands, `?state= &kind= &device= &owner=` choose executions."""
    _View(page).begin()


def execution_row(execution: Execution, now: datetime) -> dict[str, Any]:
    """Give an execution as a row of `EXECUTION_COLUMNS`."""
    is_open, asked = execution.finished_at is None, format.age(execution.created_at, now)
    is_at_work = is_open and execution.progress > 0
    kind, owner = execution.kind.replace("_", " "), owner_address(execution)
    return {
        "id": execution.id,
        "at": table.noted(asked, f"expires {format.ahead(execution.expires_at, now)}") if is_open else asked,
        "kind": table.link(kind, owner, note=_PRIORITIES.get(execution.priority, "")),
        "device": device_cell(execution.device_id),
        "state": table.state(execution.state, note=f"{execution.progress:.0%} done" if is_at_work else ""),
        "waiting": waiting(execution.waiting_for, now),
        "attempt": f"{execution.attempt} of {execution.max_attempts}",
        "message": table.noted(execution.code, execution.message) if execution.code or execution.message else "",
    }


def owner_address(execution: Execution) -> str:
    """Give the page of what wanted an execution; where that has none, the executions that it wanted."""
    pages = {"rollout_step": f"/rollouts/{execution.owner_id}", "incremental_update": "/incremental"}
    return pages.get(execution.kind, f"/executions?owner={execution.owner_id}")


@dataclass(frozen=True, kw_only=True)
class _Data:
    """What the open tab shows; the other is None."""

    executions: PageOf[Execution] | None = None
    commands: PageOf[Command] | None = None


class _View:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._owner = page.query.get("owner", "")[:_ID_LENGTH]
        self._form = CommandForm(page, self._given)
        with heading("Executions"):
            form.button("New command", self._form.open, test_id="new-command", is_primary=True)
        wanted = page.query.get("tab", "")
        opened = wanted if wanted in _TABS else "executions"
        with ui.element("section").classes("box"):
            with ui.tabs() as self._tabs:
                self._tabs.props('dense no-caps align="left" inline-label').classes("tabs")
                for name, label in _TABS.items():
                    ui.tab(name, label)
            with ui.tab_panels(self._tabs, value=opened, animated=False).classes("panels"):
                with ui.tab_panel("executions"):
                    self._draw_executions()
                with ui.tab_panel("commands"):
                    nothing = "No command was given yet. Give one: a ping shows which devices answer."
                    self._commands = Table(
                        COMMAND_COLUMNS, nothing=nothing, test_id="command-table", on_act=self._ask_to_cancel_command
                    )
                    self._command_pager = Pager[Command](size=_SIZE, on_move=self._refresh)
        self._dialogs = ui.element("div").style("display: none")

    def _draw_executions(self) -> None:
        query = self._page.query
        with ui.element("div").classes("filters"):
            self._state = form.select("State", {"any": "Any state", **{one: one.replace("_", " ") for one in _STATES}})
            self._state.value = query.get("state") if query.get("state") in _STATES else "any"
            self._state.props('data-testid="state"')
            self._kind = form.select("Kind", {"any": "Any kind", **{one: one.replace("_", " ") for one in _KINDS}})
            self._kind.value = query.get("kind") if query.get("kind") in _KINDS else "any"
            self._kind.props('data-testid="kind"')
            self._device = ui.input("Device id", value=query.get("device", "")[:_ID_LENGTH])
            self._device.props('outlined dense clearable debounce=250 data-testid="device"').classes("grow")
        if self._owner:
            with ui.element("div").classes("filtered").props('data-testid="owner"'):
                ui.label(f"Only what {format.tail(self._owner)} wanted.")
                ui.link("Show all", "/executions")
        self._executions = Table(
            [*EXECUTION_COLUMNS, Column(name="cancel", label="")],
            nothing="No execution is like that. Rollouts, learning and commands make them, one a device.",
            test_id="execution-table",
            on_act=self._ask_to_cancel,
        )
        self._pager = Pager[Execution](size=_SIZE, on_move=self._refresh)
        for field in (self._state, self._kind, self._device):
            field.on_value_change(self._search)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)
        self._tabs.on_value_change(self._refresh)

    async def _search(self) -> None:
        self._pager.restart()
        await self._refresh()

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> _Data:
        if self._tabs.value == "commands":
            return _Data(commands=client.commands.list(limit=_SIZE, cursor=self._command_pager.cursor))
        found = client.executions.list(
            device_id=(self._device.value or "").strip()[:_ID_LENGTH] or None,
            owner_id=self._owner or None,
            state=None if self._state.value == "any" else self._state.value,
            kind=None if self._kind.value == "any" else self._kind.value,
            limit=_SIZE,
            cursor=self._pager.cursor,
        )
        return _Data(executions=found)

    def _show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        if data.executions is not None:
            self._executions.show([_cancelable(execution_row(one, now), one) for one in data.executions.items])
            self._pager.show(data.executions)
        if data.commands is not None:
            self._commands.show([command_row(one, now) for one in data.commands.items])
            self._command_pager.show(data.commands)

    def _given(self, _: Command) -> None:
        ui.notify("The command is given.")
        self._tabs.value = "commands"

    def _ask_to_cancel(self, execution_id: str, _text: str) -> None:
        async def cancel() -> None:
            await self._page.act(lambda client: client.executions.cancel(execution_id), _tell_canceled)
            await self._refresh()

        question = "Cancel this execution?\nThe device is told to stop it. What wanted it goes on without this device."
        with self._dialogs:
            form.confirm(question, "Cancel it", cancel).open()

    def _ask_to_cancel_command(self, command_id: str, _text: str) -> None:
        async def cancel() -> None:
            await self._page.act(lambda client: client.commands.cancel(command_id), _tell_canceled)
            await self._refresh()

        question = "Cancel this command?\nDevices that have not answered yet are told to forget it."
        with self._dialogs:
            form.confirm(question, "Cancel it", cancel).open()


def _cancelable(row: dict[str, Any], execution: Execution) -> dict[str, Any]:
    if log := log_path(execution):
        return {**row, "cancel": table.link("Log", log)}
    return {**row, "cancel": table.action("Cancel") if execution.finished_at is None else " "}


def _tell_canceled(_: Execution | Command) -> None:
    ui.notify("It is canceled.")
