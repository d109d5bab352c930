"""How refusals on MQTT are told and counted. The only place that turns errors into `down/reply`."""

from typing import Final

import msgspec
from sqlalchemy.orm import Session

from controller import events, observe
from controller.errors import ShoalError
from controller.gateway.access import Inbound
from shoal.wire import topics
from shoal.wire.devices import Refusal
from shoal.wire.envelope import Envelope, limit_of
from shoal.wire.errors import WireError

_ANSWERS: Final = 20  # to one device in one batch: a flood of bad messages must not become a flood of answers


class _Identified(msgspec.Struct):
    id: str = ""


class Refusals:
    """What is refused in one batch: one row is changed for a device and reason, however many messages there are."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], tuple[int, str]] = {}
        self._answers: dict[str, list[Refusal]] = {}

    def add(
        self, inbound: Inbound, device_id: str | None, error: ShoalError | WireError, *, is_told: bool = True
    ) -> None:
        """Refuse a message.

        Args:
            device_id: Who sent it; None if that is no device of ours, which gets no answer.
            is_told: Whether the device gets an answer; it does where the message has an id.
        """
        key = (device_id or "", error.code)
        self._counted[key] = (self._counted.get(key, (0, ""))[0] + 1, str(error))
        if device_id is None or not is_told:
            return
        answers = self._answers.setdefault(device_id, [])
        if len(answers) < _ANSWERS and (message_id := _message_id(inbound.payload)):
            answers.append(Refusal(message_id=message_id, code=error.code, message=str(error)[:2000]))

    def save(self, session: Session) -> None:
        """Count and answer; in an order, so that two gateways do not wait for each other in a circle."""
        for (device_id, code), (times, message) in sorted(self._counted.items()):
            observe.count_refusal(session, door="mqtt", device_id=device_id, code=code, message=message, times=times)
        for device_id, answers in self._answers.items():
            for refusal in answers:
                body = msgspec.json.encode(refusal).decode()
                events.publish(session, topic=topics.down(device_id, "reply"), kind="refusal", body=body)


def _message_id(payload: bytes) -> str:
    """Give the id that a refused message claims; nothing but the answer's address rests on it."""
    if len(payload) > limit_of(""):
        return ""
    try:
        body = msgspec.json.decode(payload, type=Envelope).body
        return msgspec.json.decode(body, type=_Identified).id[:64]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
