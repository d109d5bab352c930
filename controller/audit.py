"""Who changed what. Written in the transaction of the change itself."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, Session, mapped_column

from controller.db import Base, new_id, utc_now


class AuditRow(Base):
    """One change that a person or a program asked for."""

    __tablename__ = "audit"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]


def note(session: Session, *, actor: str, action: str, subject: str, data: dict[str, Any] | None = None) -> None:
    """Write down that `actor` did `action` (`rollout.create`) to `subject`. Never put a secret into `data`."""
    session.add(AuditRow(actor=actor, action=action, subject=subject, data=data or {}, at=utc_now()))
