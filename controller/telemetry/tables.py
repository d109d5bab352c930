"""Rows of telemetry: messages as they came, the newest figures, sums over time, and the rules that watch them."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class MessageRow(Base):
    """A message as it came, kept for a day; `is_folded` once it is counted in the other rows.

    Times are by the controller's clock. Commits do not follow `id`: what is new is known by `is_folded` alone.
    """

    __tablename__ = "telemetry_messages"
    __table_args__ = (
        Index("uq_telemetry_messages_device", "device", "session", "sequence", unique=True),
        Index(
            "ix_telemetry_messages_unfolded",
            "id",
            sqlite_where=text("NOT is_folded"),
            postgresql_where=text("NOT is_folded"),
        ),
    )
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    device: Mapped[int]  # its number
    session: Mapped[int]
    sequence: Mapped[int]
    received_at: Mapped[datetime]
    begin_at: Mapped[datetime]  # of the first sample
    end_at: Mapped[datetime]  # of the last sample
    is_folded: Mapped[bool]
    body: Mapped[str]  # JSON: shoal.wire.telemetry.Telemetry


class LatestRow(Base):
    """The newest figures of a device."""

    __tablename__ = "telemetry_latest"
    device: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]  # of the newest sample
    received_at: Mapped[datetime]
    dropped: Mapped[int]
    figures: Mapped[str]  # JSON: kind to [value, microseconds since 1970]


class RollupRow(Base):
    """Sums of a device's samples in one step of time."""

    __tablename__ = "telemetry_rollups"
    device: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begin_at: Mapped[datetime] = mapped_column(primary_key=True, index=True)
    figures: Mapped[str]  # JSON: kind to [count, sum, least, most]


class AlertRuleRow(Base):
    """What is watched on which devices."""

    __tablename__ = "alert_rules"
    name: Mapped[str] = mapped_column(primary_key=True)
    selector: Mapped[str]
    kind: Mapped[str]
    condition: Mapped[str]  # controller.telemetry.alerts.Condition
    threshold: Mapped[float | None]
    for_s: Mapped[float]
    window_s: Mapped[float]
    severity: Mapped[str]
    is_enabled: Mapped[bool]
    created_by: Mapped[str]
    created_at: Mapped[datetime]


class AlertRow(Base):
    """A rule's condition on one device; at most one is open of each."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_open",
            "rule",
            "device",
            unique=True,
            sqlite_where=text("state <> 'resolved'"),
            postgresql_where=text("state <> 'resolved'"),
        ),
        Index("ix_alerts_device_id_id", "device_id", "id"),
        Index("ix_alerts_state_due_at", "state", "due_at"),
        Index("ix_alerts_rule_state", "rule", "state"),
    )
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    rule: Mapped[str]
    device: Mapped[int]
    device_id: Mapped[str]
    kind: Mapped[str]
    severity: Mapped[str]
    state: Mapped[str]  # controller.telemetry.alerts.State
    value: Mapped[float | None]
    message: Mapped[str]
    since: Mapped[datetime]
    due_at: Mapped[datetime | None]  # when a pending one fires unless something comes in
    fired_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None] = mapped_column(index=True)
    acknowledged_by: Mapped[str | None]


class AlertWatchRow(Base):
    """A device whose silence a rule waits for: looked at when it is due, not before."""

    __tablename__ = "alert_watches"
    rule: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    due_at: Mapped[datetime] = mapped_column(index=True)
