"""Rows of the one engine under all device work, and of the commands that operators give."""

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
    owner_id: Mapped[str]  # the rollout, round, incremental update or command
    state: Mapped[str]  # controller.executions.states.ExecutionState
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    priority: Mapped[int]  # controller.executions.states.Priority
    not_before: Mapped[datetime | None]  # of a queued one: when it may be sent
    expires_at: Mapped[datetime]  # whatever it waits for, it ends then
    spec: Mapped[dict[str, Any]]  # the offer's spec; {} for a rollout step, which travels in the desired document
    sent_timeout_s: Mapped[float]
    progress_timeout_s: Mapped[float]
    deadline_at: Mapped[datetime | None]  # when an open one is looked at again: its state's timer, or its expiry
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


class CommandRow(Base):
    """What an operator asked of devices once; its executions have it as their owner."""

    __tablename__ = "commands"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]  # shoal.wire.commands.CommandName
    selector: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
