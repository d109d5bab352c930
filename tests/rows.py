"""Rows of the registry for tests that need a device and no enrolment."""

from typing import Any

import msgspec
from sqlalchemy.orm import Session

from controller.db import utc_now
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DesiredRow, DeviceRow
from shoal.wire.rollouts import Desired


def add_device(session: Session, device_id: str, **others: Any) -> DeviceRow:
    """Register an active device with an empty desired document; `others` are columns."""
    now = utc_now()
    columns: dict[str, Any] = {
        "public_key": device_id.encode(),
        "state": DeviceState.ACTIVE,
        "labels": {},
        "facts": {},
        "reported": {},
        "certificate_expires_at": now,
        "enrollment_token_id": "t",
        "enrolled_at": now,
    }
    device = DeviceRow(id=device_id, **{**columns, **others})
    session.add(device)
    session.flush()
    body = msgspec.to_builtins(Desired(epoch=1, version=0))
    session.add(DesiredRow(device_id=device_id, epoch=1, version=0, body=body, updated_at=now))
    session.flush()
    return device
