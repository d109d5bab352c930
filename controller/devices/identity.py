"""Who is trusted: a device's state as operators change it, its certificates, and whom a broker shall shut out.

From the transaction on that takes a device out of `active`, both doors refuse it and its retained desired document is
cleared; `session_must_end` and a new revision of the broker access make the gateway and the broker follow.
Not here: what becomes of its executions (the room above), and how a session is ended (the gateway).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from controller import events
from controller.devices import service
from controller.devices.lifecycle import DeviceState, next_state
from controller.devices.sessions import End, go_offline
from controller.devices.tables import BrokerAccessRow, CertificateRow, DesiredRow, DeviceRow, SessionRow
from controller.errors import Conflict, Unavailable
from controller.keys import DeviceCertificate, Keys

CLONED: Final = "cloned"
_RENEWED_EARLY: Final = timedelta(days=335)  # a revocation list is good for a year


def approve(session: Session, device_id: str, now: datetime) -> DeviceRow:
    """Let a pending machine be a device of its own.

    Raises:
        NotFound: `device.not_found`.
        Conflict: `device.not_pending`.
    """
    device = service.lock(session, device_id)
    if device.state != DeviceState.PENDING:
        raise Conflict("device.not_pending", f"{device.id} is {device.state} already.", state=device.state)
    _enter(session, device, DeviceState.ACTIVE, "", "device.approved")
    device.claims_device_id = None
    return device


def merge(session: Session, pending_id: str, now: datetime) -> DeviceRow:
    """Give a device the new key of its machine, which was installed anew; its history stays, the old key is out.

    Raises:
        NotFound: `device.not_found`.
        Conflict: `device.no_claim`, unless the pending machine claims a device; `device.retired`.
    """
    pending = service.lock(session, pending_id)
    if pending.state != DeviceState.PENDING or pending.claims_device_id is None:
        raise Conflict("device.no_claim", f"{pending.id} is no pending machine with the hardware of a known device.")
    device = service.lock(session, pending.claims_device_id)
    if device.state == DeviceState.RETIRED:
        raise Conflict("device.retired", f"{device.id} is retired; approve {pending.id} as a device of its own.")
    kept = {name: getattr(pending, name) for name in ("public_key", "facts", "hardware_id", "enrollment_token_id")}
    for table in (DesiredRow, CertificateRow, SessionRow):
        session.execute(delete(table).where(table.device_id == pending.id))
    session.delete(pending)
    session.flush()  # the key is unique
    for name, value in kept.items():
        setattr(device, name, value)
    shut_out(session, device, "reinstalled", now)
    device.state, device.state_reason = DeviceState.ACTIVE, ""
    device.agent_version = str(device.facts.get("agent_version", ""))
    service.republish_desired(session, device.id)
    events.record(session, "device.merged", subject=device.id, device_id=device.id, data={"claim": pending_id})
    return device


def suspend(session: Session, device_id: str, reason: str, now: datetime) -> DeviceRow:
    """Stop listening to a device until it is activated again.

    Raises:
        NotFound: `device.not_found`.
        Conflict: `device.illegal_transition`.
    """
    device = service.lock(session, device_id)
    _enter(session, device, DeviceState.SUSPENDED, reason, "device.suspended")
    shut_out(session, device, reason or "suspended", now)
    return device


def activate(session: Session, device_id: str, now: datetime) -> DeviceRow:
    """Listen to a suspended device again; it gets a fresh certificate by itself.

    Raises:
        NotFound: `device.not_found`.
        Conflict: `device.not_suspended`.
    """
    device = service.lock(session, device_id)
    if device.state != DeviceState.SUSPENDED:
        raise Conflict("device.not_suspended", f"{device.id} is {device.state}, not suspended.", state=device.state)
    _enter(session, device, DeviceState.ACTIVE, "", "device.activated")
    session.execute(delete(SessionRow).where(SessionRow.device_id == device.id, SessionRow.end == End.LATE))
    _want_access(session)
    service.republish_desired(session, device.id)
    return device


def retire(session: Session, device_id: str, reason: str, now: datetime) -> DeviceRow:
    """Part with a device for good; its history stays.

    Raises:
        NotFound: `device.not_found`.
        Conflict: `device.illegal_transition`.
    """
    device = service.lock(session, device_id)
    was_pending = device.state == DeviceState.PENDING
    _enter(session, device, DeviceState.RETIRED, reason, "device.retired")
    if not was_pending:
        shut_out(session, device, reason or "retired", now)
    return device


def issue(session: Session, keys: Keys, device: DeviceRow, csr: str, lifetime: timedelta, now: datetime) -> str:
    """Certify a device's key and keep a row of it; gives the certificate, PEM.

    Raises:
        Invalid: `csr.invalid`.
    """
    made: DeviceCertificate = keys.issue_device_certificate(csr, device.id, lifetime, now)
    session.add(CertificateRow(serial=made.serial, device_id=device.id, issued_at=now, expires_at=made.expires_at))
    device.certificate_expires_at = made.expires_at
    return made.pem


def shut_out(session: Session, device: DeviceRow, reason: str, now: datetime) -> None:
    """Revoke a device's certificates, clear its desired document at the broker, and have its session ended."""
    session.execute(
        update(CertificateRow)
        .where(CertificateRow.device_id == device.id, CertificateRow.revoked_at.is_(None))
        .values(revoked_at=now, reason=reason[:200])
    )
    service.clear_desired(session, device.id)
    go_offline(session, device, End.REFUSED, now)
    device.session_must_end = True
    device.revoked_in = _want_access(session)


def access(session: Session, now: datetime) -> tuple[BrokerAccessRow, Sequence[str]]:
    """Give the broker access as the gateway made it last, and the ids that the broker shall deny.

    Raises:
        Unavailable: `broker_access.not_made`.
    """
    row = session.get(BrokerAccessRow, 1)
    if row is None or not row.crl:
        raise Unavailable("broker_access.not_made", "The gateway has not signed a revocation list yet: is it running?")
    # A retired device whose certificates have all ended is out by that: the broker's list does not grow for ever.
    denied = session.scalars(
        select(DeviceRow.id)
        .where(
            DeviceRow.state.in_([DeviceState.SUSPENDED, DeviceState.RETIRED]), DeviceRow.certificate_expires_at > now
        )
        .order_by(DeviceRow.id)
    )
    return row, denied.all()


def make_access(session: Session, keys: Keys, now: datetime) -> bool:
    """Sign the revocation list if what it says has changed or it grows old; gives whether it did. The gateway's."""
    row = session.get(BrokerAccessRow, 1, with_for_update=True)
    if row is None:
        row = BrokerAccessRow(id=1, wanted=1, made=0, synced=0, crl="")
        session.add(row)
    is_old = row.made_at is not None and now - row.made_at > _RENEWED_EARLY
    if row.made >= row.wanted and not is_old:
        return False
    row.wanted += is_old
    revoked = session.execute(
        select(CertificateRow.serial, CertificateRow.revoked_at).where(
            CertificateRow.revoked_at.is_not(None), CertificateRow.expires_at > now
        )
    )
    row.crl = keys.sign_revocation_list([(serial, at) for serial, at in revoked if at], row.wanted, now)
    row.made, row.made_at = row.wanted, now
    return True


def is_access_due(session: Session, now: datetime) -> bool:
    """Tell whether `make_access` has something to do; reads only."""
    row = session.get(BrokerAccessRow, 1)
    return row is None or row.made < row.wanted or row.made_at is None or now - row.made_at > _RENEWED_EARLY


def note_synced(session: Session, revision: int) -> int:
    """A broker follows a revision: sessions that it newly shuts out are ended; gives the revision known now.

    Raises:
        Conflict: `broker_access.unknown_revision`, for one that was not made yet.
    """
    row = session.get(BrokerAccessRow, 1, with_for_update=True)
    if row is None or revision > row.made:
        raise Conflict("broker_access.unknown_revision", f"There is no revision {revision} yet.")
    if revision > row.synced:
        session.execute(
            update(DeviceRow)
            .where(
                DeviceRow.revoked_in > row.synced,
                DeviceRow.revoked_in <= revision,
                DeviceRow.state != DeviceState.ACTIVE,
            )
            .values(session_must_end=True)
        )
        row.synced = revision
        events.record(session, "broker.synced", subject=str(revision), data={"revision": revision})
    return row.synced


def _enter(session: Session, device: DeviceRow, state: DeviceState, reason: str, event: str) -> None:
    device.state = next_state(DeviceState(device.state), state)
    device.state_reason = reason
    events.record(session, event, subject=device.id, device_id=device.id, data={"reason": reason} if reason else {})


def _want_access(session: Session) -> int:
    row = session.get(BrokerAccessRow, 1, with_for_update=True)
    if row is None:
        row = BrokerAccessRow(id=1, wanted=1, made=0, synced=0, crl="")
        session.add(row)
    row.wanted += 1
    session.flush()
    return row.wanted
