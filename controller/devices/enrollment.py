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
from controller.devices.lifecycle import DeviceState, may_connect
from controller.devices.tables import DesiredRow, DeviceRow, EnrollmentTokenRow
from controller.errors import Conflict, Forbidden, NotFound
from controller.keys import Keys, public_key_of_csr
from controller.settings import Settings
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import signing
from shoal.wire.devices import EnrollAnswer, EnrollRequest
from shoal.wire.rollouts import Desired

FIRST_EPOCH: Final = 1


def create_token(
    session: Session, request: EnrollmentTokenRequest, *, ca_digest: str, actor: str
) -> tuple[EnrollmentTokenRow, str]:
    """Make a token; gives its row and the text that is shown once: `<secret>.<sha256 of the CA certificate>`."""
    secret = secrets.token_urlsafe(24)
    row = EnrollmentTokenRow(
        name=request.name,
        secret_digest=_digest(secret),
        labels=dict(request.labels),
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


def enroll(session: Session, keys: Keys, settings: Settings, request: EnrollRequest, now: datetime) -> EnrollAnswer:
    """Make a machine a device, or give a known one a fresh certificate.

    Idempotent by public key: a repeated request neither spends the token again nor makes a second device, so a crash
    between commit and answer burns nothing.

    Raises:
        Forbidden: `enrollment.wrong_token`, `enrollment.token_expired`, `enrollment.token_revoked`,
            `enrollment.token_spent`, `device.not_active`.
        Invalid: `csr.invalid`.
    """
    token = _token_of(session, request.token)
    public_key = signing.raw_public_key(public_key_of_csr(request.csr))
    device = session.scalar(select(DeviceRow).where(DeviceRow.public_key == public_key).with_for_update())
    if device is not None and device.enrollment_token_id == token.id:
        if not may_connect(DeviceState(device.state)):
            raise Forbidden("device.not_active", f"This device is {device.state}.")
    elif device is not None:
        raise Conflict("enrollment.key_known", "This key was enrolled with another token; make a new key.")
    else:
        _check_usable(token, now)
        token.uses += 1
        device = _new_device(session, token, public_key, request, now)
    certificate = keys.issue_device_certificate(request.csr, device.id, settings.certificate_days, now)
    device.certificate_expires_at = certificate.expires_at
    return EnrollAnswer(
        device_id=device.id,
        certificate=certificate.pem,
        ca=keys.ca_pem,
        broker_url=settings.device_broker_url or settings.broker_url,
        controller_keys=keys.controller_keys,
    )


def _token_of(session: Session, text: str) -> EnrollmentTokenRow:
    secret = text.partition(".")[0]
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
    device = DeviceRow(
        id="d-" + base64.b32encode(secrets.token_bytes(10)).decode().lower(),
        public_key=public_key,
        state=DeviceState.ACTIVE,
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
    events.record(session, "device.enrolled", subject=device.id, device_id=device.id, data={"token": token.id})
    return device


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
