"""`shoal webhooks`: where the controller posts what happens."""

import sys
from typing import Annotated, Final

import typer

from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import FAILED, Column, show_done, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.telemetry import Webhook, WebhookDelivery, WebhookRequest

app = typer.Typer(no_args_is_help=True, help="Where the controller posts what happens.")
Name = Annotated[str, typer.Argument(metavar="NAME")]

_COLUMNS: Final = (
    Column[Webhook](title="Webhook", of=lambda webhook: webhook.name),
    Column[Webhook](title="URL", of=lambda webhook: webhook.url, is_long=True),
    Column[Webhook](title="Events", of=lambda webhook: webhook.events, is_long=True),
    Column[Webhook](title="Waiting", of=lambda webhook: webhook.waiting, is_number=True),
    Column[Webhook](title="Given up", of=lambda webhook: webhook.failed, is_number=True),
    Column[Webhook](title="Last answer", of=lambda webhook: webhook.last_error or webhook.last_code, is_long=True),
    Column[Webhook](title="Last post", of=lambda webhook: webhook.last_at),
)
_DELIVERIES: Final = (
    Column[WebhookDelivery](title="Delivery", of=lambda delivery: delivery.id),
    Column[WebhookDelivery](title="Event", of=lambda delivery: delivery.event),
    Column[WebhookDelivery](title="State", of=lambda delivery: delivery.state),
    Column[WebhookDelivery](title="Tried", of=lambda delivery: delivery.attempts, is_number=True),
    Column[WebhookDelivery](title="Answer", of=lambda delivery: delivery.error or delivery.code, is_long=True),
    Column[WebhookDelivery](title="Created", of=lambda delivery: delivery.created_at),
    Column[WebhookDelivery](title="Next", of=lambda delivery: delivery.next_at, is_optional=True),
)


@app.command()
def create(
    name: Name,
    url: Annotated[str, typer.Option("--url", help="http:// or https://, one that takes posts.")],
    event: Annotated[
        list[str], typer.Option("--event", metavar="NAME", help="Such as device.offline, or alert.*; may be repeated.")
    ],
    as_json: Json = False,
) -> None:
    """Have events posted to a URL; the secret that signs them is shown this once."""
    with connect() as client:
        made = client.webhooks.create(WebhookRequest(name=name, url=url, events=event))
    facts = {"Webhook": made.name, "URL": made.url, "Events": made.events}
    to_copy = (
        "",
        f"Secret, shown this once: {made.secret}",
        "Each post carries X-Shoal-Signature: sha256=<HMAC of the body with it, hexadecimal>.",
    )
    show_item(made, facts, to_copy=to_copy, as_json=as_json)


@app.command("list")
def list_webhooks(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List webhooks by name; never their secrets."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.webhooks.list(limit=limit, cursor=cursor))
    show_page(page, _COLUMNS, empty="No webhooks yet: make one with `shoal webhooks create`.", as_json=as_json)


@app.command()
def test(name: Name, as_json: Json = False) -> None:
    """Post a test at once; exit code 1 unless it was taken."""
    with connect() as client:
        delivery = client.webhooks.test(name)
    facts = {"Delivery": delivery.id, "State": delivery.state, "Answer": delivery.error or delivery.code}
    show_item(delivery, facts, as_json=as_json)
    if delivery.state != "delivered":
        sys.exit(FAILED)


@app.command()
def deliveries(
    name: Name, every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False
) -> None:
    """List what was and will be posted, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.webhooks.deliveries(name, limit=limit, cursor=cursor)
        )
    show_page(page, _DELIVERIES, empty="Nothing was to be posted in the last week.", as_json=as_json)


@app.command()
def delete(name: Name, as_json: Json = False) -> None:
    """Delete a webhook, with what waits to be posted to it."""
    with connect() as client:
        client.webhooks.delete(name)
    show_done(f"Deleted the webhook {name}.", {"name": name, "deleted": True}, as_json=as_json)
