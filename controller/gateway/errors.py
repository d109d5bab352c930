"""How a refusal on MQTT is told and counted. The only place that turns errors into `down/reply`."""

import msgspec
from sqlalchemy.orm import Session

from controller import events, observe
from controller.devices.tables import DeviceRow
from controller.errors import ShoalError
from controller.gateway.access import Inbound
from shoal.wire import topics
from shoal.wire.devices import Refusal
from shoal.wire.envelope import Envelope, limit_of
from shoal.wire.errors import WireError


class _Identified(msgspec.Struct):
    id: str = ""


def refuse(session: Session, inbound: Inbound, device: DeviceRow | None, error: ShoalError | WireError) -> None:
    """Count a refusal, and answer it where the sender is a device of ours and the message had an id."""
    device_id = "" if device is None else device.id
    observe.count_refusal(session, door="mqtt", device_id=device_id, code=error.code, message=str(error))
    message_id = _message_id(inbound.payload)
    if device is not None and message_id:
        refusal = Refusal(message_id=message_id, code=error.code, message=str(error)[:2000])
        body = msgspec.json.encode(refusal).decode()
        events.publish(session, topic=topics.down(device.id, "reply"), kind="refusal", body=body)


def _message_id(payload: bytes) -> str:
    """Give the id that a refused message claims; nothing but the answer's address rests on it."""
    if len(payload) > limit_of(""):
        return ""
    try:
        body = msgspec.json.decode(payload, type=Envelope).body
        return msgspec.json.decode(body, type=_Identified).id[:64]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
