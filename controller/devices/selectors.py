"""Which devices are meant: all, a list of ids, or labels that are equal. Only active devices are ever selected."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.errors import Invalid, NotFound


def select_devices(session: Session, selector: Mapping[str, Any]) -> list[DeviceRow]:
    """Give the active devices that a selector means, ordered by id.

    Raises:
        Invalid: `selector.ambiguous`, unless exactly one of `all`, `device_ids`, `labels` is set.
        NotFound: `device.not_found`, for an id that is none of an active device.
    """
    ids, labels = selector.get("device_ids") or [], selector.get("labels") or {}
    if sum((bool(selector.get("all")), bool(ids), bool(labels))) != 1:
        raise Invalid("selector.ambiguous", "A selector has exactly one of all, device_ids, labels.")
    query = select(DeviceRow).where(DeviceRow.state == DeviceState.ACTIVE).order_by(DeviceRow.id)
    if ids:
        query = query.where(DeviceRow.id.in_(ids))
    for label, value in labels.items():
        query = query.where(DeviceRow.labels[label].as_string() == value)
    found = list(session.scalars(query))
    missing = sorted(set(ids) - {device.id for device in found})
    if missing:
        raise NotFound("device.not_found", f"No active device is called {missing[0][:40]}.", missing=missing[:20])
    return found
