"""Webhooks as operators keep them, and the deliveries that are due."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from controller.db import new_id, utc_now
from controller.errors import Conflict, NotFound
from controller.events import EventRow
from controller.webhooks import posting, queueing
from controller.webhooks.matching import GIVEN_UP_AFTER, DeliveryState, pause
from controller.webhooks.posting import Outcome, Post
from controller.webhooks.tables import DeliveryRow, WebhookRow
from shoal.schemas.telemetry import WebhookRequest

MAX_WEBHOOKS: Final = 100  # each is looked at with every event
TEST_EVENT: Final = "webhook.test"
_KEPT: Final = timedelta(days=7)
_PRUNED: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Due:
    """A delivery whose time has come, free of the database."""

    webhook_id: str
    delivery_id: str
    post: Post


def create(session: Session, request: WebhookRequest, actor: str) -> WebhookRow:
    """Make a webhook, with a new secret.

    Raises:
        Conflict: `webhook.exists`, `webhook.too_many`.
        Invalid: `webhook.bad_url`, `webhook.forbidden_address`.
    """
    if session.scalar(select(WebhookRow.id).where(WebhookRow.name == request.name)) is not None:
        raise Conflict("webhook.exists", f"There is a webhook {request.name} already.")
    if (session.scalar(select(func.count()).select_from(WebhookRow)) or 0) >= MAX_WEBHOOKS:
        raise Conflict("webhook.too_many", f"There are {MAX_WEBHOOKS} webhooks: delete one.")
    posting.check_url(request.url)
    row = WebhookRow(
        name=request.name,
        url=request.url,
        events=list(dict.fromkeys(request.events)),
        secret=secrets.token_urlsafe(32),
        is_enabled=True,
        created_by=actor,
        created_at=utc_now(),
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, name: str) -> WebhookRow:
    """Give a webhook.

    Raises:
        NotFound: `webhook.not_found`.
    """
    row = session.scalar(select(WebhookRow).where(WebhookRow.name == name))
    if row is None:
        raise NotFound("webhook.not_found", f"There is no webhook {name[:64]}.")
    return row


def remove(session: Session, name: str) -> None:
    """Delete a webhook, with what waits to be posted to it.

    Raises:
        NotFound: `webhook.not_found`.
    """
    row = get(session, name)
    session.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == row.id))
    session.delete(row)
    session.flush()


def counts(session: Session, webhook_ids: Iterable[str]) -> dict[tuple[str, str], int]:
    """Count the deliveries that wait, or were given up, by webhook and state."""
    query = (
        select(DeliveryRow.webhook_id, DeliveryRow.state, func.count())
        .where(
            DeliveryRow.webhook_id.in_(list(webhook_ids)),
            DeliveryRow.state.in_([DeliveryState.WAITING, DeliveryState.FAILED]),
        )
        .group_by(DeliveryRow.webhook_id, DeliveryRow.state)
    )
    return {(webhook_id, state): count for webhook_id, state, count in session.execute(query)}


def begin_test(session: Session, name: str, actor: str) -> Due:
    """Queue a test event for one webhook, which no worker takes; post it, and `note` how it went.

    Raises:
        NotFound: `webhook.not_found`.
    """
    row = get(session, name)
    event = EventRow(id=new_id(), name=TEST_EVENT, subject=name, device_id=None, data={"by": actor}, at=utc_now())
    made = DeliveryRow(**{**queueing.delivery(row.id, event), "next_at": None})
    session.add(made)
    session.flush()
    return _due(made, row)


def due(session: Session, now: datetime, *, limit: int, without: Iterable[str] = ()) -> list[Due]:
    """Give deliveries whose time has come, the longest due first.

    Args:
        without: Webhooks whose turn it is not.
    """
    query = (
        select(DeliveryRow, WebhookRow)
        .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook_id)
        .where(
            DeliveryRow.state == DeliveryState.WAITING,
            DeliveryRow.next_at <= now,
            WebhookRow.is_enabled.is_(True),
            DeliveryRow.webhook_id.not_in(list(without)),
        )
        .order_by(DeliveryRow.next_at, DeliveryRow.id)
        .limit(limit)
    )
    return [_due(delivery, webhook) for delivery, webhook in session.execute(query)]


def note(session: Session, delivery_id: str, outcome: Outcome, now: datetime) -> DeliveryRow | None:
    """Write down how a post went, and when it is tried again; None if it was deleted meanwhile."""
    row = session.get(DeliveryRow, delivery_id, with_for_update=True)
    if row is None:
        return None
    is_test = row.event == TEST_EVENT
    row.attempts += 1
    row.code, row.error = outcome.code, outcome.error
    row.next_at = None
    if not outcome.error:
        row.state, row.delivered_at = DeliveryState.DELIVERED, now
    elif is_test or now - row.created_at >= GIVEN_UP_AFTER:
        row.state = DeliveryState.FAILED
    else:
        row.next_at = now + pause(row.attempts)
    webhook = session.get(WebhookRow, row.webhook_id)
    if webhook is not None:
        webhook.last_code, webhook.last_error, webhook.last_at = outcome.code, outcome.error, now
    session.flush()
    return row


def prune(session: Session, now: datetime) -> None:
    """Forget deliveries that ended days ago, and those whose webhook is gone, some at a time."""
    bound = now - _KEPT
    query = select(DeliveryRow.id).where(DeliveryRow.created_at < bound).order_by(DeliveryRow.created_at)
    session.execute(delete(DeliveryRow).where(DeliveryRow.id.in_(query.limit(_PRUNED))))


def _due(delivery: DeliveryRow, webhook: WebhookRow) -> Due:
    post = Post(
        url=webhook.url,
        secret=webhook.secret,
        event=delivery.event,
        delivery_id=delivery.id,
        body=delivery.body,
    )
    return Due(webhook_id=webhook.id, delivery_id=delivery.id, post=post)
