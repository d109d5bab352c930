"""Rows of the registry: devices, certificates, sessions, what devices shall run and prove to run, enrolment tokens."""

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


def number_of(device_id: str) -> int:
    """Give a device's number, 63 bits of its id's sha256: what rows about many devices name it by, as it is small.

    Two of a million devices share one with a probability of 5e-8.

    >>> number_of("d-aaaaaaaaaaaaaaaa")
    7360530829900213780
    """
    return int.from_bytes(hashlib.sha256(device_id.encode()).digest()[:8], "big") >> 1


def _number(context: DefaultExecutionContext) -> int:
    columns: dict[str, str] = context.get_current_parameters()  # type: ignore[no-untyped-call]
    return number_of(columns["id"])


class DeviceRow(Base):
    """One enrolled machine."""

    __tablename__ = "devices"
    # Holds all that lists of devices are counted and ordered by, so that they need not read whole devices. It is the
    # only index that begins with the number: SQLite would take a unique one, and read each device.
    __table_args__ = (Index("ix_devices_selecting", "number", "id", "state", "online", "flapping"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(default=_number)
    public_key: Mapped[bytes] = mapped_column(unique=True)  # 32 bytes, Ed25519
    state: Mapped[str] = mapped_column(index=True)  # controller.devices.lifecycle.DeviceState
    state_reason: Mapped[str] = mapped_column(default="")  # a code or an operator's words: `cloned`
    hardware_id: Mapped[str | None] = mapped_column(index=True)  # as the device said when it enrolled
    claims_device_id: Mapped[str | None]  # of a pending one: the device whose hardware this is
    labels: Mapped[dict[str, Any]]
    facts: Mapped[dict[str, Any]]
    facts_session: Mapped[int] = mapped_column(default=0)
    facts_sequence: Mapped[int] = mapped_column(default=0)
    online: Mapped[bool] = mapped_column(default=False, index=True)
    flapping: Mapped[bool] = mapped_column(default=False, index=True)  # as controller.devices.flapping says
    online_since: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    session: Mapped[int] = mapped_column(default=0)  # of the latest birth
    session_must_end: Mapped[bool] = mapped_column(default=False, index=True)  # the gateway ends it at the broker
    revoked_in: Mapped[int] = mapped_column(default=0, index=True)  # revision of the broker access that shut it out
    offer_number: Mapped[int] = mapped_column(default=0)  # of the latest offer
    boot_id: Mapped[str] = mapped_column(default="")
    agent_version: Mapped[str] = mapped_column(default="")
    reported: Mapped[dict[str, Any]]  # the latest `reported` body, {} before the first
    reported_session: Mapped[int] = mapped_column(default=0)
    reported_sequence: Mapped[int] = mapped_column(default=0)
    certificate_expires_at: Mapped[datetime]
    enrollment_token_id: Mapped[str]
    enrolled_at: Mapped[datetime]


class DeviceTextRow(Base):
    """A text that a device can be selected by (controller.devices.attributes)."""

    __tablename__ = "device_texts"
    __table_args__ = (Index("ix_device_texts_device_path", "device", "path"), {"sqlite_with_rowid": False})
    path: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[int] = mapped_column(primary_key=True)  # its number


class DeviceNumberRow(Base):
    """A number that a device can be selected by; booleans are 0 and 1."""

    __tablename__ = "device_numbers"
    __table_args__ = (Index("ix_device_numbers_device_path", "device", "path"), {"sqlite_with_rowid": False})
    path: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(primary_key=True)
    device: Mapped[int] = mapped_column(primary_key=True)  # its number


class GroupRow(Base):
    """A saved selector."""

    __tablename__ = "groups"
    name: Mapped[str] = mapped_column(primary_key=True)
    selector: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class GroupMemberRow(Base):
    """A device that is in a group, kept by controller.devices.groups."""

    __tablename__ = "group_members"
    __table_args__ = ({"sqlite_with_rowid": False},)
    group: Mapped[str] = mapped_column("group_name", ForeignKey("groups.name", ondelete="CASCADE"), primary_key=True)
    device: Mapped[int] = mapped_column(primary_key=True, index=True)  # its number


class CertificateRow(Base):
    """A certificate that was issued to a device."""

    __tablename__ = "certificates"
    serial: Mapped[str] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), index=True)
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(default="")


class SessionRow(Base):
    """A session of a device with the broker, known by its birth."""

    __tablename__ = "device_sessions"
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    session: Mapped[int] = mapped_column(primary_key=True)
    instance: Mapped[str]
    boot_id: Mapped[str]
    agent_version: Mapped[str]
    begun_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end: Mapped[str] = mapped_column(default="")  # clean, lost, replaced, refused


class BrokerAccessRow(Base):
    """Who a broker shall shut out: one row, which a revision names.

    `wanted` counts changes, `made` is the revision of `crl` (the gateway signs it), `synced` the latest that a broker
    has taken over.
    """

    __tablename__ = "broker_access"
    id: Mapped[int] = mapped_column(primary_key=True)
    wanted: Mapped[int]
    made: Mapped[int]
    synced: Mapped[int]
    crl: Mapped[str]
    made_at: Mapped[datetime | None]


class DesiredRow(Base):
    """What a device shall be: the body of its `desired` message, versioned."""

    __tablename__ = "desired"
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    epoch: Mapped[int]
    version: Mapped[int]
    body: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]


class ReceiptRow(Base):
    """A device's signed statement of what it runs, kept with the exact envelope that it signed."""

    __tablename__ = "receipts"
    __table_args__ = (
        Index("ix_receipts_device_id_session_sequence", "device_id", "session", "sequence", unique=True),
        Index("ix_receipts_is_latest_model_version", "is_latest", "model", "version"),
    )
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    session: Mapped[int]
    sequence: Mapped[int]
    execution_id: Mapped[str] = mapped_column(index=True)
    model: Mapped[str]
    version: Mapped[int]
    variant_id: Mapped[str]
    runtime: Mapped[str]
    sha256: Mapped[str]
    golden_passed: Mapped[bool]
    golden_agreement: Mapped[float]
    latency_p50_ms: Mapped[float]
    is_fallback: Mapped[bool]
    is_latest: Mapped[bool]  # no other of this device and model was signed later
    body: Mapped[dict[str, Any]]
    envelope: Mapped[bytes]
    accepted_at: Mapped[datetime]


class EnrollmentTokenRow(Base):
    """Lets machines enrol themselves. The secret is shown once and kept as its sha256."""

    __tablename__ = "enrollment_tokens"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    secret_digest: Mapped[str] = mapped_column(unique=True)
    labels: Mapped[dict[str, Any]]
    needs_approval: Mapped[bool] = mapped_column(default=False)
    max_uses: Mapped[int]
    uses: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
