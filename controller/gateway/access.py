"""Who may say what on MQTT: the device of the topic must be known, and its own key must have signed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.blobs import BlobStore
from controller.devices.tables import DesiredRow, DeviceRow
from controller.errors import Forbidden
from shoal.wire import envelope, signing, topics
from shoal.wire.devices import Birth, FactsReport, Will
from shoal.wire.envelope import Message
from shoal.wire.errors import WireError
from shoal.wire.executions import ExecutionReport
from shoal.wire.incremental import Evidence
from shoal.wire.rollouts import Receipt, Reported
from shoal.wire.telemetry import Telemetry

_CHANNELS: Final[dict[type, str]] = {
    Birth: "presence",
    Will: "presence",
    FactsReport: "facts",
    Reported: "reported",
    Receipt: "reported",
    ExecutionReport: "execution",
    Telemetry: "telemetry",
    Evidence: "event",
}


@dataclass(frozen=True)
class Inbound:
    """A message as the broker delivered it."""

    topic: str
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a handler works with.

    Attributes:
        envelope: The exact bytes that came, with the signature.
    """

    session: Session
    device: DeviceRow
    blobs: BlobStore
    envelope: bytes
    now: datetime


def read_ahead(session: Session, topics_of_batch: Sequence[str]) -> list[DeviceRow | DesiredRow]:
    """Read what the messages of a batch are about at once, instead of each for itself; hold on to what this gives."""
    named = {topic.split("/")[2] for topic in topics_of_batch if topic.count("/") > 2}
    ids = [device_id for device_id in named if topics.is_device_id(device_id)]
    devices = session.scalars(select(DeviceRow).where(DeviceRow.id.in_(ids))).all()
    return [*devices, *session.scalars(select(DesiredRow).where(DesiredRow.device_id.in_(ids)))]


def device_of(session: Session, topic: str) -> DeviceRow:
    """Give the device that a topic speaks for.

    Raises:
        WireError: `topic.unknown`.
        Forbidden: `device.unknown`.
    """
    device = session.get(DeviceRow, topics.parse_up(topic).device_id)
    if device is None:
        raise Forbidden("device.unknown", "This device is not one of this controller; enrol it.")
    return device


def open_message(device: DeviceRow, inbound: Inbound) -> Message:
    """Check a message of a device and give it.

    Raises:
        WireError: As `open_envelope`, and `message.wrong_channel`.
    """
    key_id = signing.key_id_of(device.public_key)
    message = envelope.open_envelope(
        inbound.payload, topic=inbound.topic, public_key_of={key_id: device.public_key}.get
    )
    if _CHANNELS.get(type(message)) != topics.parse_up(inbound.topic).channel:
        raise WireError("message.wrong_channel", f"A {type(message).__name__} does not belong on this topic.")
    return message
