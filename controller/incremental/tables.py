"""Rows of learning alone: policies, the evidence that triggered, and what a device learned."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class PolicyRow(Base):
    """When a device learns by itself, and when what it learned is kept."""

    __tablename__ = "incremental_policies"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    selector: Mapped[str]
    monitor: Mapped[dict[str, Any]]  # shoal.schemas.incremental.MonitorSettings
    learning: Mapped[dict[str, Any]]  # shoal.schemas.incremental.LearningSettings
    replay_dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    retention_dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    is_active: Mapped[bool] = mapped_column(default=True)
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class IncrementalUpdateRow(Base):
    """One device's update: why it began, what it gave, and what the gate said."""

    __tablename__ = "incremental_updates"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    policy_id: Mapped[str] = mapped_column(ForeignKey("incremental_policies.id"), index=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    base_version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    execution_id: Mapped[str | None] = mapped_column(ForeignKey("executions.id"))
    state: Mapped[str]  # controller.incremental.gate.UpdateState
    evidence: Mapped[dict[str, Any]]  # the signed body that triggered it
    result: Mapped[dict[str, Any]]  # IncrementalUpdateResult, {} before
    result_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    message: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
