"""Alerts as rows, and the tab that lists them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, kinds
from dashboard.components import form, table
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.telemetry import Alert

ALERT_COLUMNS: Final = (
    Column(name="rule", label="Rule"),
    Column(name="state", label="State"),
    Column(name="severity", label="Severity"),
    Column(name="device", label="Device"),
    Column(name="value", label="Figure", is_number=True),
    Column(name="message", label="Says", is_long=True),
    Column(name="since", label="Since"),
)
STATES: Final = {"any": "Any state", "firing": "firing", "pending": "pending", "resolved": "resolved"}
SEVERITIES: Final = {"any": "Any severity", "critical": "critical", "warning": "warning", "info": "info"}
_SIZE: Final = 50
_ID_LENGTH: Final = 64


class AlertTab:
    """All alerts, with what narrows them."""

    def __init__(self, page: Page, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._refresh = refresh
        query = page.query
        with ui.element("div").classes("filters"):
            self._state = form.select("State", dict(STATES)).props('data-testid="alert-state"')
            wanted = query.get("state", "firing")
            self._state.value = wanted if wanted in STATES else "firing"
            self._severity = form.select("Severity", dict(SEVERITIES)).props('data-testid="alert-severity"')
            self._severity.value = query.get("severity") if query.get("severity") in SEVERITIES else "any"
            self._rule = ui.input("Rule", value=query.get("rule", "")[:_ID_LENGTH])
            self._device = ui.input("Device id", value=query.get("device", "")[:_ID_LENGTH])
            for text in (self._rule, self._device):
                text.props("outlined dense clearable debounce=250").classes("grow")
        self._table = Table(
            [*ALERT_COLUMNS, Column(name="acts", label="Seen by")],
            nothing="No alert is like that.",
            test_id="alert-table",
            on_act=self._acknowledge,
        )
        self._pager = Pager[Alert](size=_SIZE, on_move=refresh)
        for field in (self._state, self._severity, self._rule, self._device):
            field.on_value_change(self._search)

    def load(self, client: Client) -> PageOf[Alert]:
        """Read a page of them."""
        return client.alerts.list(
            state=_chosen(self._state.value),
            severity=_chosen(self._severity.value),
            rule=(self._rule.value or "").strip() or None,
            device=(self._device.value or "").strip() or None,
            limit=_SIZE,
            cursor=self._pager.cursor,
        )

    def show(self, found: PageOf[Alert]) -> None:
        """Show them."""
        now = datetime.now(UTC)
        self._table.show([acknowledgeable(alert_row(alert, now), alert) for alert in found.items])
        self._pager.show(found)

    async def _search(self) -> None:
        self._pager.restart()
        await self._refresh()

    async def _acknowledge(self, alert_id: str, _text: str) -> None:
        def told(_: Alert) -> None:
            ui.notify("The alert is acknowledged: others see that somebody looks after it.")

        await self._page.act(lambda client: client.alerts.acknowledge(alert_id), told)
        await self._refresh()


def alert_row(alert: Alert, now: datetime) -> dict[str, Any]:
    """Give an alert as a row of `ALERT_COLUMNS`."""
    return {
        "id": alert.id,
        "rule": table.link(alert.rule, f"/alerts?tab=alerts&state=any&rule={alert.rule}", note=alert.kind),
        "state": table.state(alert.state),
        "severity": table.state(alert.severity),
        "device": table.link(alert.device_id, f"/devices/{alert.device_id}", mono=True),
        "value": "" if alert.value is None else kinds.figure(alert.kind, alert.value),
        "message": alert.message,
        "since": table.noted(format.age(alert.since, now), _course(alert)),
    }


def acknowledgeable(row: dict[str, Any], alert: Alert) -> dict[str, Any]:
    """Add who has seen an alert, or the button to say so."""
    if alert.acknowledged_by:
        return {**row, "acts": alert.acknowledged_by}
    is_open = alert.state != "resolved"
    of = f"{alert.rule} on {alert.device_id}"
    return {**row, "acts": table.actions("Acknowledge", of=of) if is_open else ""}


def _course(alert: Alert) -> str:
    if alert.resolved_at is not None:
        return f"lasted {format.span((alert.resolved_at - alert.since).total_seconds())}"
    if alert.fired_at is not None:
        waited_s = (alert.fired_at - alert.since).total_seconds()
        return f"fired after {format.span(waited_s)}" if waited_s >= 1 else "fired at once"
    return ""


def _chosen(value: str) -> str | None:
    return None if value == "any" else value
