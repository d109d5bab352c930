"""Who is trusted: devices approved, merged, suspended, activated and retired; certificates, sessions, broker access."""

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing
from controller.api.devices import shown
from controller.db import utc_now
from controller.devices import identity, service
from controller.devices.clones import KEPT_SESSIONS
from controller.devices.tables import CertificateRow, DeviceRow, SessionRow
from controller.executions import service as executions
from shoal.schemas.broker import BrokerAccess, Synced
from shoal.schemas.common import Page
from shoal.schemas.devices import Certificate, Device, DeviceSession, StateChange

router = APIRouter(tags=["devices"])


@router.post("/devices/{device_id}/approve")
def approve_device(device_id: str, caller: Changer, session: Writing) -> Device:
    """Let a pending machine be a device of its own."""
    return _changed(session, identity.approve(session, device_id, utc_now()), caller.name, "approve")


@router.post("/devices/{device_id}/merge")
def merge_device(device_id: str, caller: Changer, session: Writing) -> Device:
    """Give the device that a pending machine claims the machine's new key; its history stays, its old key is out."""
    row = identity.merge(session, device_id, utc_now())
    return _changed(session, row, caller.name, "merge", claim=device_id)


@router.post("/devices/{device_id}/suspend")
def suspend_device(device_id: str, body: StateChange, caller: Changer, session: Writing) -> Device:
    """Stop listening to a device until it is activated again; its work waits."""
    row = identity.suspend(session, device_id, body.reason, utc_now())
    return _changed(session, row, caller.name, "suspend", reason=body.reason)


@router.post("/devices/{device_id}/activate")
def activate_device(device_id: str, caller: Changer, session: Writing) -> Device:
    """Listen to a suspended device again; it gets a fresh certificate by itself."""
    return _changed(session, identity.activate(session, device_id, utc_now()), caller.name, "activate")


@router.post("/devices/{device_id}/retire")
def retire_device(device_id: str, body: StateChange, caller: Changer, session: Writing) -> Device:
    """Part with a device, or turn a pending machine away, for good; its open work is canceled, its history stays."""
    row = identity.retire(session, device_id, body.reason, utc_now())
    return _changed(session, row, caller.name, "retire", reason=body.reason)


@router.get("/devices/{device_id}/certificates")
def list_certificates(device_id: str, _caller: Reader, session: Reading) -> Page[Certificate]:
    """List a device's newest certificates."""
    service.get(session, device_id)
    query = select(CertificateRow).where(CertificateRow.device_id == device_id)
    rows = session.scalars(query.order_by(CertificateRow.issued_at.desc()).limit(KEPT_SESSIONS)).all()
    return Page(items=[Certificate.model_validate(row) for row in rows], total=len(rows))


@router.get("/devices/{device_id}/sessions")
def list_sessions(device_id: str, _caller: Reader, session: Reading) -> Page[DeviceSession]:
    """List a device's newest sessions with the broker."""
    service.get(session, device_id)
    query = select(SessionRow).where(SessionRow.device_id == device_id)
    rows = session.scalars(query.order_by(SessionRow.begun_at.desc()).limit(KEPT_SESSIONS)).all()
    return Page(items=[DeviceSession.model_validate(row) for row in rows], total=len(rows))


@router.get("/broker-access", tags=["broker"])
def show_broker_access(_caller: Reader, session: Reading) -> BrokerAccess:
    """Show whom a broker shall shut out: the signed list of revoked certificates, and device ids."""
    row, denied = identity.access(session, utc_now())
    return BrokerAccess(revision=row.made, crl=row.crl, denied=list(denied), made_at=row.made_at or utc_now())


@router.put("/broker-access/synced", tags=["broker"])
def note_broker_synced(body: Synced, caller: Changer, session: Writing) -> Synced:
    """A broker follows this revision now: the sessions that it shuts out are ended."""
    known = identity.note_synced(session, body.revision)
    audit.note(session, actor=caller.name, action="broker_access.synced", subject=str(body.revision))
    return Synced(revision=known)


def _changed(session: Session, row: DeviceRow, actor: str, action: str, **data: str) -> Device:
    executions.on_state_change(session, row, utc_now())
    audit.note(session, actor=actor, action=f"device.{action}", subject=row.id, data=dict(data))
    return shown(session, row)
