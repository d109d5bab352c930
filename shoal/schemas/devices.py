"""Devices, their certificates and sessions, fleet counts, receipts, enrolment tokens."""

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
        state_reason: Why it is in its state: `cloned`, or an operator's words.
        claims_device_id: Of a pending machine: the device that has the same hardware.
        flapping: It comes and goes too often.
        groups: Names of the groups that it is in.
        key_id: Of its key: the first 16 hexadecimal digits of its sha256.
    """

    id: str
    state: str
    state_reason: str
    hardware_id: str | None
    claims_device_id: str | None
    key_id: str
    enrollment_token_id: str
    online: bool
    flapping: bool
    labels: dict[str, str]
    groups: list[str]
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


class StateChange(Request):
    """`POST /v1/devices/{id}/suspend` and `/retire`: why."""

    reason: str = Field(default="", max_length=200)


class Certificate(Response):
    """A certificate that was issued to a device."""

    serial: str
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    reason: str


class DeviceSession(Response):
    """A session of a device with the broker.

    Attributes:
        instance: Of the agent process; one session number with two instances is a clone.
        end: `clean`, `lost`, `replaced`, `late`, `refused`; empty while it is open.
    """

    session: int
    instance: str
    boot_id: str
    agent_version: str
    begun_at: datetime
    ended_at: datetime | None
    end: str


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
    needs_approval: bool = False
    max_uses: int = Field(default=1, ge=1, le=1_000_000)
    expires_in_s: int = Field(default=86400, ge=60, le=366 * 86400)


class EnrollmentToken(Response):
    """An enrolment token, without its secret."""

    id: str
    name: str
    labels: dict[str, str]
    needs_approval: bool
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


class Difference(Response):
    """One thing in which a device is not what it shall be.

    Attributes:
        subject: `slot digits/a`, `policy p-...`, `document`.
        desired, reported: In words; None where that side has nothing.
        because: What the device says about it, or what it waits for.
    """

    subject: str
    desired: str | None
    reported: str | None
    because: str


class Health(Response):
    """How many devices with one value of a label are well.

    Attributes:
        value: Of the label; None for devices without it.
        alerting: Online, and an alert fires.
        flapping: They come and go too often.
    """

    value: str | None
    total: int
    healthy: int
    alerting: int
    flapping: int
    offline: int
    suspended: int


class FleetMap(Response):
    """The health of the fleet by a label.

    Attributes:
        label: Its name; None: the fleet as one.
        labels: Names of labels that devices have, the most frequent first.
        cells: The most devices first, at most 200.
        hidden: Values that are left off.
    """

    label: str | None
    labels: list[str]
    cells: list[Health]
    hidden: int
