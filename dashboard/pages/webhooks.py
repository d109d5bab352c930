"""Webhooks: the tab that lists them, the dialog that makes one, and what became of their deliveries."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format
from dashboard.components import form, table
from dashboard.components.form import Form
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.telemetry import NewWebhook, Webhook, WebhookDelivery, WebhookRequest

_SIZE: Final = 50
_DELIVERIES: Final = 25


class WebhookTab:
    """All webhooks."""

    def __init__(self, page: Page, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._refresh = refresh
        self._table = Table(
            [
                Column(name="name", label="Webhook"),
                Column(name="state", label="State"),
                Column(name="url", label="Posts to", is_long=True),
                Column(name="events", label="Events", is_long=True),
                Column(name="waiting", label="Waiting", is_number=True),
                Column(name="failed", label="Given up", is_number=True),
                Column(name="last", label="Last answer", is_long=True),
                Column(name="acts", label=""),
            ],
            nothing="No webhook yet. Make one: chosen events are posted to your URL, signed, until it takes them.",
            test_id="webhook-table",
            on_act=self._act,
        )
        self._pager = Pager[Webhook](size=_SIZE, on_move=refresh)
        self._dialogs = ui.element("div").style("display: none")
        with ui.dialog() as self._deliveries, ui.card().classes("form wide").props('data-testid="deliveries"'):
            self._title = ui.label("").classes("form-title")
            self._list = Table(
                [
                    Column(name="event", label="Event"),
                    Column(name="state", label="State"),
                    Column(name="attempts", label="Tried", is_number=True),
                    Column(name="code", label="Answer"),
                    Column(name="error", label="Says", is_long=True),
                    Column(name="at", label="When"),
                ],
                nothing="Nothing was posted yet.",
                test_id="delivery-table",
            )
            with ui.element("div").classes("buttons"):
                ui.button("Close", on_click=self._deliveries.close, color=None).props("flat no-caps").classes("quiet")

    def load(self, client: Client) -> PageOf[Webhook]:
        """Read a page of them."""
        return client.webhooks.list(limit=_SIZE, cursor=self._pager.cursor)

    def show(self, found: PageOf[Webhook]) -> None:
        """Show them."""
        now = datetime.now(UTC)
        self._table.show([webhook_row(webhook, now) for webhook in found.items])
        self._pager.show(found)

    async def _act(self, name: str, what: str) -> None:
        if what == "Test":
            await self._page.act(lambda client: client.webhooks.test(name), _tell_tested)
            await self._refresh()
        elif what == "Deliveries":
            await self._page.act(
                lambda client: client.webhooks.deliveries(name, limit=_DELIVERIES),
                lambda found: self._show_deliveries(name, found),
            )
        else:
            with self._dialogs:
                question = f"Delete webhook {name}?\nWhat waits to be posted to it is dropped."
                form.confirm(question, "Delete it", lambda: self._delete(name)).open()

    def _show_deliveries(self, name: str, found: PageOf[WebhookDelivery]) -> None:
        now = datetime.now(UTC)
        self._title.set_text(f"Deliveries of {name}, newest first")
        self._list.show([delivery_row(one, now) for one in found.items])
        self._deliveries.open()

    async def _delete(self, name: str) -> None:
        def told(_: None) -> None:
            ui.notify(f"Webhook {name} is deleted.")

        await self._page.act(lambda client: client.webhooks.delete(name), told)
        await self._refresh()


class WebhookForm:
    """The dialog; the secret is shown once."""

    def __init__(self, page: Page, then: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._then = then
        self._form = Form("New webhook", "Make it", self._send, test_id="webhook-form")
        with self._form.fields():
            self._name = ui.input("Name").props("outlined dense maxlength=64")
            self._url = ui.input("URL that takes the posts", placeholder="https://").props(
                'outlined dense maxlength=2048 type="url"'
            )
            self._events = ui.input("Events, separated by commas", value="alert.*").props("outlined dense")
            ui.label("Names such as device.offline, beginnings such as alert.*, or * for all.").classes("hint")
        with ui.dialog() as self._made, ui.card().classes("form").props('data-testid="made-webhook"'):
            ui.label("The secret, shown this once").classes("form-title")
            self._secret = ui.label("").classes("code mono").props('data-testid="webhook-secret"')
            ui.label(
                "Each post carries X-Shoal-Signature: sha256=<HMAC of the body with this secret, hexadecimal>. Check "
                "it before you believe a post."
            ).classes("words")
            with ui.element("div").classes("buttons"):
                kept = ui.button("I have kept it", on_click=self._forget, color=None)
                kept.props("unelevated no-caps").classes("primary")

    def open(self) -> None:
        """Show it."""
        self._form.open()

    async def _send(self) -> None:
        request = WebhookRequest(
            name=(self._name.value or "").strip(),
            url=(self._url.value or "").strip(),
            events=[name.strip() for name in (self._events.value or "").split(",") if name.strip()],
        )
        await self._page.act(lambda client: client.webhooks.create(request), self._show_made, self._form.refuse)
        await self._then()

    def _show_made(self, made: NewWebhook) -> None:
        self._form.close()
        self._secret.set_text(made.secret)
        self._made.open()

    def _forget(self) -> None:
        self._made.close()
        self._secret.set_text("")


def webhook_row(webhook: Webhook, now: datetime) -> dict[str, Any]:
    """Give a webhook as a row."""
    answer = "" if webhook.last_code is None else f"HTTP {webhook.last_code}"
    said = answer or ("no answer" if webhook.last_error else "")
    when = format.age(webhook.last_at, now) if webhook.last_at else ""
    return {
        "id": webhook.name,
        "name": table.noted(webhook.name, f"by {webhook.created_by}"),
        "state": table.state("enabled" if webhook.is_enabled else "disabled"),
        "url": table.mono(webhook.url),
        "events": ", ".join(webhook.events),
        "waiting": format.count(webhook.waiting),
        "failed": format.count(webhook.failed),
        "last": table.noted(" ".join(part for part in (said, when) if part), webhook.last_error) if said else "",
        "acts": table.actions("Test", "Deliveries", grave="Delete"),
    }


def delivery_row(one: WebhookDelivery, now: datetime) -> dict[str, Any]:
    """Give a delivery as a row."""
    again = f"again {format.ahead(one.next_at, now)}" if one.next_at and one.state == "waiting" else ""
    return {
        "id": one.id,
        "event": table.mono(one.event),
        "state": table.state(one.state, note=again),
        "attempts": format.count(one.attempts),
        "code": "" if one.code is None else str(one.code),
        "error": one.error,
        "at": format.age(one.delivered_at or one.created_at, now),
    }


def _tell_tested(one: WebhookDelivery) -> None:
    if one.state == "delivered":
        ui.notify("The test was taken.")
    else:
        said = one.error or f"HTTP {one.code}"
        ui.notify(f"The test was not taken: {said}", type="negative", multi_line=True, close_button=True)
