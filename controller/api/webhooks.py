"""`/v1/webhooks`: where what happens is posted to."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.errors import NotFound
from controller.webhooks import posting, service
from controller.webhooks.matching import DeliveryState
from controller.webhooks.tables import DeliveryRow, WebhookRow
from shoal.schemas.common import Page
from shoal.schemas.telemetry import NewWebhook, Webhook, WebhookDelivery, WebhookRequest

router = APIRouter(tags=["webhooks"])
WebhookName = Annotated[str, Path(max_length=64)]


@router.post("/webhooks", status_code=201)
def create_webhook(body: WebhookRequest, caller: Changer, session: Writing) -> NewWebhook:
    """Have chosen events posted to a URL; the secret that signs them is shown this once."""
    row = service.create(session, body, caller.name)
    audit.note(session, actor=caller.name, action="webhook.create", subject=row.name, data={"events": row.events})
    return NewWebhook(**_webhooks(session, [row])[0].model_dump(), secret=row.secret)


@router.get("/webhooks")
def list_webhooks(_caller: Reader, session: Reading, window: Wanted) -> Page[Webhook]:
    """List webhooks by name; never their secrets."""
    found = page(session, select(WebhookRow), WebhookRow.name, window, lambda row: row, is_newest_first=False)
    return Page(items=_webhooks(session, found.items), next_cursor=found.next_cursor)


@router.delete("/webhooks/{name}", status_code=204)
def delete_webhook(name: WebhookName, caller: Changer, session: Writing) -> None:
    """Delete a webhook, with what waits to be posted to it."""
    service.remove(session, name)
    audit.note(session, actor=caller.name, action="webhook.delete", subject=name)


@router.post("/webhooks/{name}/test")
def test_webhook(name: WebhookName, caller: Changer, parts: PartsOf) -> WebhookDelivery:
    """Post a test at once, and tell how it went; it is not tried again."""
    # Transactions of its own: none is open while somebody else's server is waited for.
    with parts.database.transaction() as session:
        due = service.begin_test(session, name, caller.name)
        audit.note(session, actor=caller.name, action="webhook.test", subject=name)
    outcome = posting.post(due.post)
    with parts.database.transaction() as session:
        row = service.note(session, due.delivery_id, outcome, utc_now())
        if row is None:
            raise NotFound("webhook.not_found", f"The webhook {name} was deleted meanwhile.")
        return WebhookDelivery.model_validate(row)


@router.get("/webhooks/{name}/deliveries")
def list_deliveries(name: WebhookName, _caller: Reader, session: Reading, window: Wanted) -> Page[WebhookDelivery]:
    """List what was and will be posted to a webhook, newest first; it is kept for a week."""
    query = select(DeliveryRow).where(DeliveryRow.webhook_id == service.get(session, name).id)
    return page(session, query, DeliveryRow.id, window, WebhookDelivery.model_validate)


def _webhooks(session: Session, rows: Sequence[WebhookRow]) -> list[Webhook]:
    counts = service.counts(session, [row.id for row in rows])
    return [
        Webhook(
            name=row.name,
            url=row.url,
            events=row.events,
            is_enabled=row.is_enabled,
            waiting=counts.get((row.id, DeliveryState.WAITING), 0),
            failed=counts.get((row.id, DeliveryState.FAILED), 0),
            last_code=row.last_code,
            last_error=row.last_error,
            last_at=row.last_at,
            created_by=row.created_by,
            created_at=row.created_at,
        )
        for row in rows
    ]
