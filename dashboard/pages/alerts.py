"""`/alerts`: what fires, the rules that watch, and the webhooks that are told."""

from dataclasses import dataclass
from typing import Final

from nicegui import ui

from dashboard.components import form
from dashboard.components.layout import heading
from dashboard.page import Page
from dashboard.pages.alert_list import AlertTab
from dashboard.pages.alert_rules import RuleForm, RuleTab
from dashboard.pages.webhooks import WebhookForm, WebhookTab
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.telemetry import Alert, AlertRule, Webhook

_TABS: Final = {"alerts": "Alerts", "rules": "Rules", "webhooks": "Webhooks"}


@dataclass(frozen=True, kw_only=True)
class _Data:
    """What the open tab shows; the others are None."""

    alerts: PageOf[Alert] | None = None
    rules: PageOf[AlertRule] | None = None
    webhooks: PageOf[Webhook] | None = None


def alerts(page: Page) -> None:
    """Draw the page; `?tab=` opens one of `alerts`, `rules`, `webhooks`, `?state=` and `?rule=` narrow the alerts."""
    _View(page).begin()


class _View:
    def __init__(self, page: Page) -> None:
        self._page = page
        rule_form, webhook_form = RuleForm(page, self._refresh), WebhookForm(page, self._refresh)
        wanted = page.query.get("tab", "")
        with heading("Alerts"):
            form.button("New webhook", webhook_form.open, test_id="new-webhook")
            form.button("New rule", rule_form.open, test_id="new-rule", is_primary=True)
        with ui.element("section").classes("box"):
            with ui.tabs() as self._tabs:
                self._tabs.props('dense no-caps align="left" inline-label').classes("tabs")
                for name, label in _TABS.items():
                    ui.tab(name, label)
            opened = wanted if wanted in _TABS else "alerts"
            with ui.tab_panels(self._tabs, value=opened, animated=False).classes("panels"):
                with ui.tab_panel("alerts"):
                    self._alerts = AlertTab(page, self._refresh)
                with ui.tab_panel("rules"):
                    self._rules = RuleTab(page, self._refresh)
                with ui.tab_panel("webhooks"):
                    self._webhooks = WebhookTab(page, self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)
        self._tabs.on_value_change(self._turned)

    async def _turned(self) -> None:
        ui.navigate.history.replace(f"/alerts?tab={self._tabs.value}")
        await self._refresh()

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> _Data:
        if self._tabs.value == "rules":
            return _Data(rules=self._rules.load(client))
        if self._tabs.value == "webhooks":
            return _Data(webhooks=self._webhooks.load(client))
        return _Data(alerts=self._alerts.load(client))

    def _show(self, data: _Data) -> None:
        if data.alerts is not None:
            self._alerts.show(data.alerts)
        if data.rules is not None:
            self._rules.show(data.rules)
        if data.webhooks is not None:
            self._webhooks.show(data.webhooks)
