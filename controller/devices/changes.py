"""Whatever changes a device, its attributes and its groups follow in the same transaction, and nobody can forget it.

Importing this module (the package does) makes every session of the ORM do so. Not seen are updates of `DeviceRow` that
pass the ORM by: `labels`, `facts`, `reported`, `agent_version`, `state`, `online` and `flapping` are written through
rows only.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from controller.devices import attributes, groups
from controller.devices.tables import DeviceRow

_KEY: Final = "device_changes"
# Column of a device to the root of the fields that follow from it.
_ROOTS: Final = {**attributes.ROOTS, "state": "state", "online": "online", "flapping": "flapping"}


@event.listens_for(Session, "after_flush")
def _flushed(session: Session, _context: Any) -> None:
    new = _devices(session.new)
    changed = {device: roots for device in _devices(session.dirty) if (roots := _changed_roots(device))}
    if not new and not changed:
        return
    connection = session.connection()
    attributes.add(connection, new)
    alike: dict[frozenset[str], list[DeviceRow]] = {}
    for device, roots in changed.items():
        alike.setdefault(roots & attributes.EVERY_ROOT, []).append(device)
    for roots, devices in alike.items():
        if roots:
            attributes.change(connection, devices, roots)
    noted: dict[int, frozenset[str]] = session.info.setdefault(_KEY, {})
    for device in new:
        noted[device.number] = groups.EVERYTHING
    for device, roots in changed.items():
        noted[device.number] = noted.get(device.number, frozenset()) | roots


@event.listens_for(Session, "before_commit")
def _committing(session: Session) -> None:
    if not session.in_nested_transaction():
        settle(session)


def settle(session: Session) -> None:
    """Let groups follow now, for who wants to see them before the transaction ends."""
    session.flush()
    if noted := session.info.pop(_KEY, None):
        groups.follow(session, noted)


def _devices(rows: Iterable[Any]) -> list[DeviceRow]:
    return [row for row in rows if isinstance(row, DeviceRow)]


def _changed_roots(device: DeviceRow) -> frozenset[str]:
    state = inspect(device)
    return frozenset(root for column, root in _ROOTS.items() if state.attrs[column].history.has_changes())
