"""A device's sessions with the broker: born, ended, too many of them, and two machines in one told apart.

What comes and goes of a flapping device is no news: one event says that it flaps, another that it is steady again.
Order-free and idempotent: a broker doubles, delays and reorders births and wills.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from controller import events
from controller.devices import clones, flapping, service
from controller.devices.tables import DeviceRow, SessionRow
from shoal.wire.devices import Birth, Will


class End(StrEnum):
    """How a session ended. `late`: it was over, or somebody else's, when its birth came."""

    CLEAN = "clean"
    LOST = "lost"
    REPLACED = "replaced"
    LATE = "late"
    REFUSED = "refused"


class Presence(StrEnum):
    """What a birth meant."""

    BORN = "born"
    LATE = "late"
    CLONED = "cloned"


def note_birth(session: Session, device: DeviceRow, birth: Birth, now: datetime) -> Presence:
    """Take a birth; one of a session that is over already changes nothing but the count of late ones."""
    known = session.get(SessionRow, (device.id, birth.session))
    is_late = birth.session < device.session
    if known is None:
        session.add(_row(device, birth, now, End.LATE if is_late else None))
        session.flush()
        _prune(session, device)
    late = _late_births(session, device, now) if is_late and known is None else []
    if clones.is_clone(None if known is None else known.instance, birth.instance, late):
        return Presence.CLONED
    if is_late:
        return Presence.LATE
    if not device.online or birth.session > device.session:
        _end_open(session, device, End.REPLACED, now, below=birth.session)
        if known is None:
            _judge(session, device, now)
        if not device.flapping:
            _record(session, device, "device.online", {"session": birth.session})
        device.online_since = now
    device.session = birth.session
    device.online = True
    device.last_seen_at = now
    device.boot_id = birth.boot_id
    device.agent_version = birth.agent_version
    held = service.desired_of(session, device.id)
    if (birth.desired_epoch, birth.desired_version) != (held.epoch, held.version):
        service.republish_desired(session, device.id)
    return Presence.BORN


def note_will(session: Session, device: DeviceRow, will: Will, now: datetime) -> None:
    """Take a will; one of an older session says nothing about the present one."""
    if will.session != device.session or not device.online:
        return
    go_offline(session, device, End.CLEAN if will.clean else End.LOST, now)


def go_offline(session: Session, device: DeviceRow, end: End, now: datetime) -> None:
    """End the present session, if there is one."""
    if device.online:
        device.online = False
        device.last_seen_at = now
        _end_open(session, device, end, now, below=device.session + 1)
        if not device.flapping:
            _record(session, device, "device.offline", {"clean": end is End.CLEAN})


def settle(session: Session, now: datetime, *, limit: int = 500) -> None:
    """Find the flapping devices that have become steady, or stayed away."""
    is_quiet = DeviceRow.online_since <= now - flapping.WINDOW
    query = select(DeviceRow).where(DeviceRow.flapping.is_(True), is_quiet).order_by(DeviceRow.id)
    for device in session.scalars(query.limit(limit).with_for_update()).all():
        _judge(session, device, now)


def _judge(session: Session, device: DeviceRow, now: datetime) -> None:
    births = session.scalar(
        select(func.count()).where(SessionRow.device_id == device.id, SessionRow.begun_at > now - flapping.WINDOW)
    )
    flaps = flapping.is_flapping(device.flapping, births or 0)
    if flaps != device.flapping:
        device.flapping = flaps
        _record(session, device, "device.flapping" if flaps else "device.steady", {"sessions": births})


def _record(session: Session, device: DeviceRow, name: str, data: dict[str, Any]) -> None:
    events.record(session, name, subject=device.id, device_id=device.id, data=data)


def _row(device: DeviceRow, birth: Birth, now: datetime, end: End | None) -> SessionRow:
    return SessionRow(
        device_id=device.id,
        session=birth.session,
        instance=birth.instance,
        boot_id=birth.boot_id,
        agent_version=birth.agent_version,
        begun_at=now,
        ended_at=now if end else None,
        end=end.value if end else "",
    )


def _end_open(session: Session, device: DeviceRow, end: End, now: datetime, *, below: int) -> None:
    session.execute(
        update(SessionRow)
        .where(SessionRow.device_id == device.id, SessionRow.ended_at.is_(None), SessionRow.session < below)
        .values(ended_at=now, end=end.value)
    )


def _late_births(session: Session, device: DeviceRow, now: datetime) -> list[datetime]:
    query = select(SessionRow.begun_at).where(
        SessionRow.device_id == device.id,
        SessionRow.end == End.LATE,
        SessionRow.begun_at > now - clones.LATE_WITHIN,
    )
    return list(session.scalars(query))


def _prune(session: Session, device: DeviceRow) -> None:
    mine = SessionRow.device_id == device.id
    oldest_kept = session.scalar(
        select(SessionRow.begun_at)
        .where(mine)
        .order_by(SessionRow.begun_at.desc())
        .offset(clones.KEPT_SESSIONS)
        .limit(1)
    )
    if oldest_kept is not None:
        session.execute(delete(SessionRow).where(mine, SessionRow.begun_at <= oldest_kept))
