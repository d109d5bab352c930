"""Whatever is recorded as an event is queued for the webhooks that ask for it, in the same transaction.

Importing this module (the package does) makes every session of the ORM do so. Not seen are events that pass the ORM by:
`events.record` is the way.
"""

import json
from typing import Any

from sqlalchemy import event, insert, select
from sqlalchemy.orm import Session

from controller.db import utc_now
from controller.events import EventRow
from controller.webhooks.matching import is_wanted
from controller.webhooks.tables import DeliveryRow, WebhookRow


@event.listens_for(Session, "after_flush")
def _flushed(session: Session, _context: Any) -> None:
    happened = [row for row in session.new if isinstance(row, EventRow)]
    if not happened:
        return
    connection = session.connection()
    query = select(WebhookRow.id, WebhookRow.events).where(WebhookRow.is_enabled.is_(True))
    webhooks = connection.execute(query).all()
    deliveries = [
        delivery(webhook_id, row) for row in happened for webhook_id, names in webhooks if is_wanted(row.name, names)
    ]
    if deliveries:
        connection.execute(insert(DeliveryRow), deliveries)


def delivery(webhook_id: str, row: EventRow) -> dict[str, Any]:
    """Give the row of an event on its way; what is posted is fixed here."""
    now = utc_now()
    body = {
        "id": row.id,
        "name": row.name,
        "subject": row.subject,
        "device_id": row.device_id,
        "data": row.data,
        "at": row.at.isoformat(),
    }
    return {
        "webhook_id": webhook_id,
        "event_id": row.id,
        "event": row.name,
        "body": json.dumps(body),
        "state": "waiting",
        "attempts": 0,
        "code": None,
        "error": "",
        "created_at": now,
        "next_at": now,
        "delivered_at": None,
    }
