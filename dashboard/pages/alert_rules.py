"""Rules that watch telemetry: the tab that lists them, and the dialog that makes one."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

from nicegui import ui

from dashboard import format, kinds
from dashboard.components import form, table
from dashboard.components.form import Form
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages.selector_input import SelectorInput
from dashboard.wording import Unreadable
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.telemetry import AlertRule, AlertRuleChange, AlertRuleRequest

_SIZE: Final = 50
_CONDITIONS: Final = {
    "above": "is above",
    "below": "is below",
    "absent": "did not come",
    "rising": "rises by more than",
    "falling": "falls by more than",
}
_RATES: Final = frozenset({"rising", "falling"})
_UNIT_HINTS: Final = {
    "%": "Shares count from 0 to 1: 0.9 is 90%",
    "B": "Bytes",
    "B/s": "Bytes a second",
    "°C": "Degrees Celsius",
}
_SEVERITIES: Final = ("info", "warning", "critical")


class RuleTab:
    """All rules."""

    def __init__(self, page: Page, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._refresh = refresh
        self._table = Table(
            [
                Column(name="name", label="Rule"),
                Column(name="state", label="State"),
                Column(name="severity", label="Severity"),
                Column(name="condition", label="Fires where", is_long=True),
                Column(name="selector", label="On devices that", is_long=True),
                Column(name="firing", label="Firing", is_number=True),
                Column(name="by", label="Made"),
                Column(name="acts", label=""),
            ],
            nothing="No rule yet. Make one: it watches a kind of telemetry on the devices of a selector.",
            test_id="rule-table",
            on_act=self._act,
        )
        self._pager = Pager[AlertRule](size=_SIZE, on_move=refresh)
        self._dialogs = ui.element("div").style("display: none")

    def load(self, client: Client) -> PageOf[AlertRule]:
        """Read a page of them."""
        return client.alert_rules.list(limit=_SIZE, cursor=self._pager.cursor)

    def show(self, found: PageOf[AlertRule]) -> None:
        """Show them."""
        now = datetime.now(UTC)
        self._table.show([rule_row(rule, now) for rule in found.items])
        self._pager.show(found)

    async def _act(self, name: str, what: str) -> None:
        if what == "Delete":
            with self._dialogs:
                question = f"Delete rule {name}?\nIts alerts that are open end, and are told as resolved."
                form.confirm(question, "Delete it", lambda: self._delete(name)).open()
            return
        change = AlertRuleChange(is_enabled=what == "Enable")
        await self._page.act(lambda client: client.alert_rules.change(name, change), _tell_changed)
        await self._refresh()

    async def _delete(self, name: str) -> None:
        def told(_: None) -> None:
            ui.notify(f"Rule {name} is deleted.")

        await self._page.act(lambda client: client.alert_rules.delete(name), told)
        await self._refresh()


class RuleForm:
    """The dialog."""

    def __init__(self, page: Page, then: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._then = then
        self._form = Form("New alert rule", "Make it", self._send, test_id="rule-form")
        with self._form.fields():
            self._name = ui.input("Name").props("outlined dense maxlength=64")
            self._input = SelectorInput(page, label="On devices", test_id="rule-selector")
            with ui.element("div").classes("side-by-side"):
                self._kind = ui.input("Kind of telemetry", value="temperature.cpu_celsius", autocomplete=[])
                self._kind.props('outlined dense maxlength=96 data-testid="rule-kind"').classes("mono")
                self._condition = form.select("Condition", dict(_CONDITIONS))
                self._condition.value = "above"
            with ui.element("div").classes("side-by-side"):
                self._threshold = form.number("Threshold", 80, least=-1e18, most=1e18, step=0.1)
                self._window = form.number("Measured over", 300, least=10, most=86_400, suffix="s")
                self._for = form.number("For at least", 60, least=0, most=30 * 86_400, suffix="s")
                self._severity = form.select("Severity", list(_SEVERITIES))
                self._severity.value = "warning"
            self._hint = ui.label("").classes("hint").props('role="status" data-testid="rule-hint"')
        for field in (self._kind, self._condition, self._threshold, self._for, self._window):
            field.on_value_change(self._explain)
        self._explain()

    async def open(self) -> None:
        """Show it; the kinds that devices send are offered."""

        def offer(names: list[str]) -> None:
            self._kind.set_autocomplete(names)

        await self._page.act(lambda client: client.telemetry.kinds(), offer)
        self._form.open()

    def _explain(self) -> None:
        condition = str(self._condition.value)
        unit = kinds.unit((self._kind.value or "").strip())
        self._threshold.set_visibility(condition != "absent")
        self._window.set_visibility(condition in _RATES)
        self._threshold.props["suffix"] = _threshold_unit(unit, condition)
        self._threshold.update()
        self._hint.set_text(hint(unit, condition))

    async def _send(self) -> None:
        condition = str(self._condition.value)
        kind = (self._kind.value or "").strip()
        if not kind:
            raise Unreadable("Name the kind of telemetry, such as temperature.cpu_celsius.")
        threshold = None if condition == "absent" else form.wanted_number(self._threshold)
        request = AlertRuleRequest(
            name=(self._name.value or "").strip(),
            selector=self._input.value(),
            kind=kind,
            condition=cast(Any, condition),
            threshold=threshold,
            for_s=form.wanted_number(self._for),
            window_s=form.wanted_number(self._window),
            severity=self._severity.value,
        )

        def made(rule: AlertRule) -> None:
            self._form.close()
            ui.notify(f"Rule {rule.name} watches now.")

        await self._page.act(lambda client: client.alert_rules.create(request), made, self._form.refuse)
        await self._then()


def hint(unit: str, condition: str) -> str:
    """Say what a threshold is counted in.

    >>> hint("%", "above"), hint("B", "rising")
    ('Shares count from 0 to 1: 0.9 is 90%.', 'Bytes, a second.')
    """
    if condition == "absent":
        return "Fires where no sample of this kind came for so long, whether the device is online or not."
    said = _UNIT_HINTS.get(unit, f"In {unit}" if unit else "A plain number")
    return f"{said}, a second." if condition in _RATES else f"{said}."


def condition_words(rule: AlertRule) -> str:
    """Say when a rule fires."""
    unit = kinds.unit(rule.kind)
    if rule.condition == "absent" or rule.threshold is None:
        return f"{rule.kind} did not come for {format.span(rule.for_s)}"
    words = f"{rule.kind} {_CONDITIONS.get(rule.condition, rule.condition)} {kinds.amount(unit, rule.threshold)}"
    if rule.condition in _RATES:
        words += f" a second, over {format.span(rule.window_s)}"
    return f"{words}, for {format.span(rule.for_s)}" if rule.for_s else words


def rule_row(rule: AlertRule, now: datetime) -> dict[str, Any]:
    """Give a rule as a row."""
    alerts = f"/alerts?tab=alerts&state=any&rule={rule.name}"
    return {
        "id": rule.name,
        "name": table.link(rule.name, alerts),
        "state": table.state("enabled" if rule.is_enabled else "disabled"),
        "severity": table.state(rule.severity),
        "condition": condition_words(rule),
        "selector": table.mono(rule.selector),
        "firing": table.noted(
            format.count(rule.firing), f"{format.count(rule.pending)} pending" if rule.pending else ""
        ),
        "by": table.noted(format.age(rule.created_at, now), f"by {rule.created_by}"),
        "acts": table.actions("Disable" if rule.is_enabled else "Enable", grave="Delete"),
    }


def _threshold_unit(unit: str, condition: str) -> str:
    said = {"%": "of 1"}.get(unit, unit)
    return f"{said}/s" if condition in _RATES and said else said


def _tell_changed(rule: AlertRule) -> None:
    ui.notify(f"Rule {rule.name} {'watches again' if rule.is_enabled else 'watches nothing now'}.")
