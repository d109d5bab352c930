"""Rows of webhooks: where events are posted to, and each event on its way."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class WebhookRow(Base):
    """Where chosen events are posted to.

    `secret` has to be readable here, as it signs; it is shown once and goes into no log.
    """

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    url: Mapped[str]
    events: Mapped[list[Any]]  # names, or beginnings that end with `*`
    secret: Mapped[str]
    is_enabled: Mapped[bool]
    last_code: Mapped[int | None]
    last_error: Mapped[str] = mapped_column(default="")
    last_at: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class DeliveryRow(Base):
    """One event on its way to one webhook, with what is posted: the same bytes however often."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("uq_webhook_deliveries_event", "webhook_id", "event_id", unique=True),
        Index("ix_webhook_deliveries_state_next_at", "state", "next_at"),
        Index("ix_webhook_deliveries_webhook_id_state_id", "webhook_id", "state", "id"),
    )
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    webhook_id: Mapped[str]  # no reference: what happens is recorded also while its webhook is deleted
    event_id: Mapped[str]
    event: Mapped[str]
    body: Mapped[str]
    state: Mapped[str]  # waiting, delivered, failed
    attempts: Mapped[int]
    code: Mapped[int | None]
    error: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)
    next_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
