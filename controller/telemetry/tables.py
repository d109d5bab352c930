"""Rows of telemetry: the latest sample of each device."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base


class TelemetryRow(Base):
    """The latest sample; an older session or sequence never replaces a newer one."""

    __tablename__ = "telemetry"
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    session: Mapped[int]
    sequence: Mapped[int]
    body: Mapped[dict[str, Any]]
    received_at: Mapped[datetime]
