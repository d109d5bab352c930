"""Devices, fleet counts, receipts, enrolment tokens."""

from datetime import datetime
from typing import Any

from pydantic import Field

from shoal.schemas.common import Labels, Request, Response


class Slot(Response):
    """A place on the device for one loaded variant, as reported."""

    model: str
    slot: str
    state: str
    version: int
    variant_id: str
    runtime: str
    sha256: str
    code: str = ""
    message: str = ""


class Device(Response):
    """One enrolled machine.

    Attributes:
        desired, reported: `[epoch, version]` of the document that it shall follow, and of the one that it answered.
    """

    id: str
    state: str
    online: bool
    labels: dict[str, str]
    facts: dict[str, Any]
    slots: list[Slot]
    desired: tuple[int, int]
    reported: tuple[int, int]
    agent_version: str
    online_since: datetime | None
    last_seen_at: datetime | None
    enrolled_at: datetime
    certificate_expires_at: datetime


class DeviceChange(Request):
    """`PATCH /v1/devices/{id}`: replace the labels."""

    labels: Labels


class FleetSummary(Response):
    """Counts for the overview."""

    total: int
    online: int
    states: dict[str, int]
    versions: dict[str, int]  # "digits/2" -> devices that serve it, by their latest receipt
    executions: dict[str, int]  # state -> count, of the last day
    refusals: int


class Receipt(Response):
    """A device's signed statement of what it runs."""

    id: str
    device_id: str
    execution_id: str
    model: str
    version: int
    variant_id: str
    runtime: str
    sha256: str
    golden_passed: bool
    golden_agreement: float
    latency_p50_ms: float
    is_fallback: bool
    accepted_at: datetime


class EnrollmentTokenRequest(Request):
    """`POST /v1/enrollment-tokens`."""

    name: str = Field(default="", max_length=128)
    labels: Labels = Field(default_factory=dict)
    max_uses: int = Field(default=1, ge=1, le=1_000_000)
    expires_in_s: int = Field(default=86400, ge=60, le=366 * 86400)


class EnrollmentToken(Response):
    """An enrolment token, without its secret."""

    id: str
    name: str
    labels: dict[str, str]
    max_uses: int
    uses: int
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class NewEnrollmentToken(EnrollmentToken):
    """The token as shown once: `<secret>.<sha256 of the CA certificate>`.

    Attributes:
        device_url: Where an agent shall present it.
    """

    token: str
    device_url: str


class Refusal(Response):
    """How often a sender was refused for one reason."""

    device_id: str
    code: str
    count: int
    message: str
    last_at: datetime


class Event(Response):
    """Something that happened."""

    id: str
    name: str
    subject: str
    device_id: str | None
    data: dict[str, Any]
    at: datetime


class Telemetry(Response):
    """A device's latest sample."""

    device_id: str
    body: dict[str, Any]
    received_at: datetime
