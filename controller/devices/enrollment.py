"""How a machine becomes a device: enrolment tokens, and the certificate for a key that was never seen before."""

import base64
import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.db import utc_now
from controller.devices import identity, service
from controller.devices.lifecycle import Act, DeviceState, require
from controller.devices.tables import DesiredRow, DeviceRow, EnrollmentTokenRow
from controller.errors import Conflict, Forbidden, NotFound
from controller.keys import Keys, public_key_of_csr
from controller.settings import Settings
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import signing
from shoal.wire.devices import EnrollAnswer, EnrollPending, EnrollRequest, RenewRequest
from shoal.wire.rollouts import Desired

FIRST_EPOCH: Final = 1
_RENEWED_AT: Final = 2 / 3  # of a certificate's life: a third of it is left for a controller that is away
_ASK_AGAIN_S: Final = 15.0  # of a machine that waits for an operator


def create_token(
    session: Session, request: EnrollmentTokenRequest, *, ca_digest: str, actor: str
) -> tuple[EnrollmentTokenRow, str]:
    """Make a token; gives its row and the text that is shown once: `<secret>.<sha256 of the CA certificate>`."""
    secret = secrets.token_urlsafe(24)
    row = EnrollmentTokenRow(
        name=request.name,
        secret_digest=_digest(secret),
        labels=dict(request.labels),
        needs_approval=request.needs_approval,
        max_uses=request.max_uses,
        uses=0,
        created_by=actor,
        created_at=utc_now(),
        expires_at=utc_now() + timedelta(seconds=request.expires_in_s),
    )
    session.add(row)
    session.flush()
    return row, f"{secret}.{ca_digest}"


def revoke_token(session: Session, token_id: str) -> EnrollmentTokenRow:
    """Let a token enrol nobody from now on. Devices that it enrolled stay.

    Raises:
        NotFound: `enrollment_token.not_found`.
    """
    row = session.get(EnrollmentTokenRow, token_id)
    if row is None:
        raise NotFound("enrollment_token.not_found", "There is no such enrolment token.")
    row.revoked_at = row.revoked_at or utc_now()
    return row


def enroll(
    session: Session, keys: Keys, settings: Settings, request: EnrollRequest, now: datetime
) -> EnrollAnswer | EnrollPending:
    """Make a machine a device, or give a known one a fresh certificate; a pending one has to wait for an operator.

    Idempotent by public key: a repeated request neither spends the token again nor makes a second device, so a crash
    between commit and answer burns nothing.

    Raises:
        Forbidden: `enrollment.other_fleet`, `enrollment.wrong_token`, `enrollment.token_expired`,
            `enrollment.token_revoked`, `enrollment.token_spent`, `device.suspended`, `device.retired`.
        Conflict: `enrollment.key_known`.
        Invalid: `csr.invalid`.
    """
    token = _token_of(session, keys, request.token)
    public_key = signing.raw_public_key(public_key_of_csr(request.csr))
    device = session.scalar(select(DeviceRow).where(DeviceRow.public_key == public_key).with_for_update())
    if device is not None and device.enrollment_token_id == token.id:
        require(DeviceState(device.state), Act.ENROLL, device.state_reason)
    elif device is not None:
        raise Conflict("enrollment.key_known", "This key was enrolled with another token; make a new key.")
    else:
        _check_usable(token, now)
        token.uses += 1
        device = _new_device(session, token, public_key, request, now)
    if device.state == DeviceState.PENDING:
        return _pending(device)
    return _answer(session, keys, settings, device, request.csr, now)


def renew(
    session: Session, keys: Keys, settings: Settings, device_id: str, request: RenewRequest, now: datetime
) -> EnrollAnswer:
    """Give a device a fresh certificate for the key that it has; the older ones stay good until they end.

    Raises:
        Forbidden: `renew.other_key`.
        Invalid: `csr.invalid`.
    """
    device = service.lock(session, device_id)
    if signing.raw_public_key(public_key_of_csr(request.csr)) != device.public_key:
        raise Forbidden("renew.other_key", "A certificate is renewed for the device's own key; enrol to change it.")
    events.record(session, "certificate.renewed", subject=device.id, device_id=device.id)
    return _answer(session, keys, settings, device, request.csr, now)


def _answer(
    session: Session, keys: Keys, settings: Settings, device: DeviceRow, csr: str, now: datetime
) -> EnrollAnswer:
    lifetime = timedelta(seconds=settings.certificate_lifetime_s)
    certificate = identity.issue(session, keys, device, csr, lifetime, now)
    return EnrollAnswer(
        device_id=device.id,
        certificate=certificate,
        ca=keys.ca_pem,
        broker_url=settings.device_broker_url or settings.broker_url,
        controller_keys=keys.controller_keys,
        expires_at=device.certificate_expires_at.isoformat(),
        renew_after_s=(device.certificate_expires_at - now).total_seconds() * _RENEWED_AT,
        session_floor=device.session,
    )


def _pending(device: DeviceRow) -> EnrollPending:
    if device.claims_device_id is None:
        code, message = "enrollment.needs_approval", "An operator has to approve this machine."
    else:
        code = "enrollment.claims_device"
        message = f"This machine looks like {device.claims_device_id}; an operator has to merge or approve it."
    return EnrollPending(device_id=device.id, code=code, message=message, retry_after_s=_ASK_AGAIN_S)


def _token_of(session: Session, keys: Keys, text: str) -> EnrollmentTokenRow:
    secret, _, ca_digest = text.partition(".")
    if ca_digest != keys.ca_digest:
        raise Forbidden("enrollment.other_fleet", "The enrolment token is one of another controller's fleet.")
    token = session.scalar(
        select(EnrollmentTokenRow).where(EnrollmentTokenRow.secret_digest == _digest(secret)).with_for_update()
    )
    if token is None:
        raise Forbidden("enrollment.wrong_token", "The enrolment token is not one of this controller.")
    return token


def _check_usable(token: EnrollmentTokenRow, now: datetime) -> None:
    if token.revoked_at is not None:
        raise Forbidden("enrollment.token_revoked", "The enrolment token was revoked.")
    if now >= token.expires_at:
        raise Forbidden("enrollment.token_expired", "The enrolment token has expired; ask the operator for a new one.")
    if token.uses >= token.max_uses:
        raise Forbidden("enrollment.token_spent", f"The enrolment token was used {token.uses} times, its maximum.")


def _new_device(
    session: Session, token: EnrollmentTokenRow, public_key: bytes, request: EnrollRequest, now: datetime
) -> DeviceRow:
    hardware_id = request.facts.hardware_id
    claimed = None if hardware_id is None else _owner_of(session, hardware_id)
    is_pending = token.needs_approval or claimed is not None
    device = DeviceRow(
        id="d-" + base64.b32encode(secrets.token_bytes(10)).decode().lower(),
        public_key=public_key,
        state=DeviceState.PENDING if is_pending else DeviceState.ACTIVE,
        hardware_id=hardware_id,
        claims_device_id=claimed,
        labels=dict(token.labels),
        facts=msgspec.to_builtins(request.facts),
        agent_version=request.facts.agent_version,
        reported={},
        certificate_expires_at=now,
        enrollment_token_id=token.id,
        enrolled_at=now,
    )
    session.add(device)
    session.flush()
    body = msgspec.to_builtins(Desired(epoch=FIRST_EPOCH, version=0))
    session.add(DesiredRow(device_id=device.id, epoch=FIRST_EPOCH, version=0, body=body, updated_at=now))
    data = {"token": token.id} if claimed is None else {"token": token.id, "claims": claimed}
    happened = "device.asked_to_join" if is_pending else "device.enrolled"
    events.record(session, happened, subject=device.id, device_id=device.id, data=data)
    return device


def _owner_of(session: Session, hardware_id: str) -> str | None:
    """Give the device that has this hardware; what a pending machine says of itself makes it no owner."""
    query = select(DeviceRow.id).where(
        DeviceRow.hardware_id == hardware_id, DeviceRow.state.in_([DeviceState.ACTIVE, DeviceState.SUSPENDED])
    )
    return session.scalar(query.order_by(DeviceRow.enrolled_at.desc()).limit(1))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
