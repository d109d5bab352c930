"""Rows of what devices measured, and of what shall be built for them."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class ProfilingRow(Base):
    """A request to measure; its executions have it as their owner."""

    __tablename__ = "profilings"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id", ondelete="CASCADE"), index=True)
    selector: Mapped[str]
    runs: Mapped[int]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class ProfileRow(Base):
    """What a hardware class makes of a variant: the newest measurement, and short words on those before it.

    Newest is what was asked for last, not what came last: ids of executions grow with time.
    """

    __tablename__ = "profiles"
    __table_args__ = (UniqueConstraint("variant_id", "hardware_class"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    variant_id: Mapped[str] = mapped_column(ForeignKey("variants.id", ondelete="CASCADE"))
    hardware_class: Mapped[str] = mapped_column(index=True)  # controller.devices.hardware_class
    hardware: Mapped[str]  # the same in words
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    execution_id: Mapped[str]
    passed: Mapped[bool]
    latency_p50_ms: Mapped[float | None]  # None where its golden set failed before anything was measured
    figures: Mapped[dict[str, Any]]  # shoal.wire.profiles.ProfileResult
    rates: Mapped[dict[str, Any]]  # the device's own micro-benchmarks: shoal.wire.devices.Measured
    history: Mapped[list[Any]]  # at most `service.HISTORY`, the newest first
    measured_at: Mapped[datetime]


class BuildPolicyRow(Base):
    """Build what is missing for some devices whenever a version of the model comes.

    `done` names what the policy did for its newest version, so that it does nothing twice.
    """

    __tablename__ = "build_policies"
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    body: Mapped[dict[str, Any]]  # shoal.schemas.profiles.BuildPolicy
    version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id", ondelete="SET NULL"))
    done: Mapped[list[Any]]
    message: Mapped[str] = mapped_column(default="")  # why the last look built nothing
    created_by: Mapped[str]
    created_at: Mapped[datetime]
