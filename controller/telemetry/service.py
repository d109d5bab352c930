"""The latest sample of each device. Unsigned, so nothing is decided on it."""

from datetime import datetime

import msgspec
from sqlalchemy.orm import Session

from controller.devices.tables import DeviceRow
from controller.telemetry.tables import TelemetryRow
from shoal.wire.telemetry import Telemetry


def save(session: Session, device: DeviceRow, sample: Telemetry, now: datetime) -> bool:
    """Keep a newer sample; False for an older one."""
    row = session.get(TelemetryRow, device.id)
    if row is not None and (sample.session, sample.sequence) <= (row.session, row.sequence):
        return False
    if row is None:
        row = TelemetryRow(device_id=device.id)
        session.add(row)
    row.session, row.sequence = sample.session, sample.sequence
    row.body = msgspec.to_builtins(sample)
    row.received_at = now
    device.last_seen_at = now
    return True
