"""Rows of rollouts."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class RolloutRow(Base):
    """Move a selector of devices to a version, a wave at a time."""

    __tablename__ = "rollouts"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    state: Mapped[str] = mapped_column(index=True)  # controller.rollouts.waves.RolloutState
    selector: Mapped[str]
    waves: Mapped[list[Any]]  # [{"count": 1}, {"ratio": 1.0}]
    wave: Mapped[int] = mapped_column(default=0)  # the open one, counted from 0
    error_ratio_limit: Mapped[float]
    message: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class RolloutTargetRow(Base):
    """One device of a rollout, the wave it moves in, and the variant chosen for it."""

    __tablename__ = "rollout_targets"
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    wave: Mapped[int]
    variant_id: Mapped[str] = mapped_column(ForeignKey("variants.id"))
    execution_id: Mapped[str | None] = mapped_column(ForeignKey("executions.id"))  # None until its wave opens
