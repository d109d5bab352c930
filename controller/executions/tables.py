"""Rows of the one engine under all device work."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class ExecutionRow(Base):
    """One device's share of something that the controller wants."""

    __tablename__ = "executions"
    __table_args__ = (
        Index("ix_executions_owner_id_state", "owner_id", "state"),
        Index("ix_executions_device_id_state", "device_id", "state"),
        Index("ix_executions_state_deadline_at", "state", "deadline_at"),
    )
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]  # shoal.wire.executions.ExecutionKind
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    owner_id: Mapped[str]  # the rollout, round or incremental update
    state: Mapped[str]  # controller.executions.states.ExecutionState
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    spec: Mapped[dict[str, Any]]  # the offer's spec; {} for a rollout step, which travels in the desired document
    sent_timeout_s: Mapped[float]
    progress_timeout_s: Mapped[float]
    deadline_at: Mapped[datetime | None]  # when the present state's timer fires
    waiting_for: Mapped[dict[str, Any]]  # {code, since, ...}; {} when nothing is waited for
    progress: Mapped[float] = mapped_column(default=0.0)
    code: Mapped[str] = mapped_column(default="")
    message: Mapped[str] = mapped_column(default="")
    result: Mapped[dict[str, Any]]
    report_session: Mapped[int] = mapped_column(default=0)
    report_sequence: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
