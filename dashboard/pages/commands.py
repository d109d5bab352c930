"""Commands: the form that gives one, its row, and the buttons and answers on a device's page."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.badge import badge
from dashboard.components.form import Form
from dashboard.components.layout import Notice, Region, section
from dashboard.components.table import Column
from dashboard.page import Page
from dashboard.pages.selector_input import SelectorInput
from shoal.schemas.executions import Command, CommandRequest, Execution
from shoal.schemas.waiting import waiting

COMMANDS: Final = {
    "ping": "Ping: answer",
    "restart_agent": "Restart the agent",
    "collect_logs": "Collect the log's end",
    "benchmark": "Measure the hardware again",
    "forget_data": "Delete what it learns from",
}
COMMAND_COLUMNS: Final = (
    Column(name="at", label="Given"),
    Column(name="name", label="Command"),
    Column(name="state", label="State"),
    Column(name="progress", label="Answered"),
    Column(name="counts", label="Executions", is_long=True),
    Column(name="selector", label="To"),
    Column(name="by", label="By"),
    Column(name="cancel", label=""),
)
_PRIORITIES: Final = {"high": "high", "normal": "normal", "low": "low"}
_HOUR_S: Final = 3600
_SHOWN_ANSWERS: Final = 3
_MIB: Final = 2**20
_MOST_LOG_MIB: Final = 16
_FORGETTING: Final = (
    "Delete what {whose} learns from?\nIts local data sets go, what was fetched to learn from them, what it learned "
    "and did not send, and telemetry that waits. There is no copy: nobody can bring it back.\nWhat it serves goes on."
)


def command_row(command: Command, now: datetime) -> dict[str, Any]:
    """Give a command as a row of `COMMAND_COLUMNS`."""
    ended, state = command.ended(), command.outcome()
    share = ended / command.devices if command.devices else 1.0
    words = f"{format.count(ended)} of {format.count(command.devices)}"
    return {
        "id": command.id,
        "at": format.age(command.created_at, now),
        "name": table.link(wording.command(command.name), f"/executions?owner={command.id}"),
        "state": table.state(state),
        "progress": table.progress(share, words, of=state),
        "counts": ", ".join(
            f"{format.count(count)} {word.replace('_', ' ')}" for word, count in sorted(command.counts.items())
        ),
        "selector": table.clipped(wording.selector(command.selector)),
        "by": command.created_by,
        "cancel": " " if command.is_done else table.action("Cancel"),
    }


class CommandForm:
    """The dialog in which devices are given a command."""

    def __init__(self, page: Page, then: Callable[[Command], None]) -> None:
        self._page = page
        self._then = then
        self._form = Form("New command", "Give it", self._send, test_id="command-form")
        with self._form.fields():
            self._name = form.select("Command", COMMANDS)
            self._name.value = "ping"
            self._log_mib = form.number("Of the log", 1, least=1, most=_MOST_LOG_MIB, suffix="MiB")
            self._log_mib.bind_visibility_from(self._name, "value", value="collect_logs")
            self._selector = SelectorInput(page)
            with ui.element("div").classes("side-by-side"):
                self._priority = form.select("Priority", _PRIORITIES)
                self._priority.value = "high"
                self._hours = form.number("Good for", 24, least=1, most=90 * 24, suffix="h")
            ui.label("Devices that are away get it when they come, as long as it is good.").classes("hint")

    def open(self) -> None:
        """Show it."""
        self._form.open()

    async def _send(self) -> None:
        is_log = self._name.value == "collect_logs"
        request = CommandRequest(
            name=self._name.value,
            selector=self._selector.value(),
            priority=self._priority.value,
            expires_in_s=form.wanted_number(self._hours) * _HOUR_S,
            log_bytes=int(form.wanted_number(self._log_mib) * _MIB) if is_log else None,
        )
        if request.name == "forget_data":
            question = _FORGETTING.format(whose=f"each device of {wording.selector(request.selector)}")
            form.confirm(question, "Delete it", lambda: self._create(request)).open()
        else:
            await self._create(request)

    async def _create(self, request: CommandRequest) -> None:
        def given(command: Command) -> None:
            self._form.close()
            self._then(command)

        await self._page.act(lambda client: client.commands.create(request), given, self._form.refuse)


class CommandBox:
    """The box on a device's page: buttons that give it a command, and what it answered last."""

    def __init__(self, page: Page, device_id: str, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._device_id = device_id
        self._refresh = refresh
        with section("Commands", test_id="commands") as actions:
            self._answers = Region("answers")
            self._notice = Notice()
        with actions:
            self._buttons = (
                form.button("Ping", lambda: self._give("ping"), test_id="ping"),
                form.button("Restart agent", self._ask_to_restart, test_id="restart-agent"),
                form.button("Collect log", lambda: self._give("collect_logs"), test_id="collect-logs"),
                form.button("Benchmark", lambda: self._give("benchmark"), test_id="benchmark"),
                form.button("Forget data", self._ask_to_forget, test_id="forget-data"),
            )
            ui.link("All its executions", f"/executions?device={device_id}")
        self._dialogs = ui.element("div").style("display: none")

    def show(self, executions: Sequence[Execution], names: Mapping[str, str], state: str, now: datetime) -> None:
        """Show the newest answers.

        Args:
            names: What each command asks for, by its id.
        """
        is_active = state == "active"
        for button in self._buttons:
            button.set_enabled(is_active)
        self._notice.show("" if is_active else f"A device that is {state} gets no commands.")
        self._answers.show(answers(executions, names, now), _draw_answers)

    async def _give(self, name: str) -> None:
        request = CommandRequest(name=cast(Any, name), selector=f"id == {self._device_id}", priority="high")
        await self._page.act(lambda client: client.commands.create(request), lambda _: None)
        await self._refresh()

    def _ask_to_restart(self) -> None:
        question = (
            "Restart this device's agent?\nIt is away for a few seconds, and what it serves is too. It is done when "
            "the new process has answered."
        )
        with self._dialogs:
            form.confirm(
                question, "Restart it", lambda: self._give("restart_agent"), no="Not now", is_grave=False
            ).open()

    def _ask_to_forget(self) -> None:
        with self._dialogs:
            form.confirm(_FORGETTING.format(whose="this device"), "Delete it", lambda: self._give("forget_data")).open()


def answers(
    executions: Sequence[Execution], names: Mapping[str, str], now: datetime
) -> list[tuple[str, str, str, str]]:
    """Give `(what was asked, state, words, where its log is)` of the newest commands."""
    commands = [execution for execution in executions if execution.kind == "command"]
    return [
        (
            wording.command(names.get(execution.owner_id, "command")),
            execution.state,
            _words(execution, now),
            log_path(execution),
        )
        for execution in commands[:_SHOWN_ANSWERS]
    ]


def log_path(execution: Execution) -> str:
    """Give where the log that a device sent can be downloaded; empty where it sent none."""
    has_log = execution.state == "succeeded" and isinstance(execution.result.get("log"), dict)
    return f"/executions/{execution.id}/log" if has_log else ""


def _words(execution: Execution, now: datetime) -> str:
    if execution.finished_at is None:
        return waiting(execution.waiting_for, now) or "at work on it"
    took_s = (execution.finished_at - execution.created_at).total_seconds()
    said = wording.answer(execution.result) or execution.message or execution.code
    when = f"{format.age(execution.finished_at, now)}, after {format.duration(took_s)}"
    return f"{said}; {when}" if said else when


def _draw_answers(shown: list[tuple[str, str, str, str]]) -> None:
    if not shown:
        ui.label("None was given to it lately.").classes("words")
    for number, (name, state, words, log) in enumerate(shown):
        with ui.element("div").classes("answer").props(f'data-testid="answer-{number}"'):
            ui.label(name)
            badge(state)
            ui.label(words).classes("note")
            if log:
                ui.link("Download", log).props(f'download data-testid="log-{number}"')
