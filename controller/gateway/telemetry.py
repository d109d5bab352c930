"""MQTT about telemetry: the one kind that comes by the thousand, so that a batch of it is taken as one.

It is unsigned: the broker's access list says who may speak on a topic, and nothing but charts and alerts follows.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec
from sqlalchemy.orm import Session

from controller import observe
from controller.db import to_microseconds
from controller.devices.lifecycle import Act, require
from controller.devices.tables import number_of
from controller.errors import Forbidden, ShoalError
from controller.gateway.access import Inbound
from controller.gateway.errors import Refusals
from controller.settings import Settings
from controller.telemetry import arrival, intake
from controller.telemetry.budget import Budget
from controller.telemetry.intake import Arrived
from shoal.wire import topics
from shoal.wire.envelope import Envelope, limit_of, open_envelope
from shoal.wire.errors import WireError
from shoal.wire.telemetry import Telemetry

_KIND: Final = "telemetry"
_SUFFIX: Final = f"/up/{_KIND}"
_LARGEST: Final = limit_of(_KIND)
_envelopes: Final = msgspec.json.Decoder(Envelope)
_messages: Final = msgspec.json.Decoder(Telemetry)


def is_telemetry(topic: str) -> bool:
    """Tell whether telemetry belongs on a topic."""
    return topic.endswith(_SUFFIX)


class TelemetryDoor:
    """Takes batches of telemetry; knows how much each device has sent."""

    def __init__(self, settings: Settings) -> None:
        self._kept_s = settings.telemetry_raw_s
        self._budget = Budget(settings.telemetry_bytes_per_day)

    def take(self, session: Session, batch: Sequence[Inbound], refusals: Refusals, now: datetime) -> None:
        """Keep the messages that are fit, refuse the others; failures of the database go to the caller."""
        if not batch:
            return
        now_s, at = now.timestamp(), time.monotonic()
        received_at = to_microseconds(now)
        sent: list[tuple[Inbound, str, int]] = []
        for inbound in batch:
            try:
                sent.append((inbound, *_sender(inbound.topic)))
            except WireError as error:
                refusals.add(inbound, None, error)
        standing = intake.standing(session, {number for _, _, number in sent})
        arrived: list[Arrived] = []
        for inbound, device_id, number in sent:
            payload = inbound.payload
            try:
                if number not in standing:
                    raise Forbidden("device.unknown", "This device is not one of this controller; enrol it.")
                require(standing[number][0], Act.CONNECT, standing[number][1])
                if not self._budget.spend(number, len(payload), at):
                    self._refuse_excess(inbound, device_id, number, refusals, at)
                    continue
                body, message = _read(inbound)
                span = arrival.check(message, now_s, self._kept_s)
            except (ShoalError, WireError) as error:
                refusals.add(inbound, device_id if number in standing else None, error)
            else:
                stamp = (number, message.session, message.sequence)
                arrived.append(Arrived(*stamp, received_at, span.begin, span.end, False, body))
        if arrived:
            intake.keep(session, arrived)
            observe.MESSAGES.labels(kind=Telemetry.__name__).inc(len(arrived))

    def _refuse_excess(self, inbound: Inbound, device_id: str, number: int, refusals: Refusals, at: float) -> None:
        error = WireError("telemetry.over_budget", "This device sends more telemetry than it may: it is dropped.")
        refusals.add(inbound, device_id, error, is_told=self._budget.shall_tell(number, at))


@lru_cache(maxsize=16_384)
def _sender(topic: str) -> tuple[str, int]:
    device_id = topics.parse_up(topic).device_id
    return device_id, number_of(device_id)


def _read(inbound: Inbound) -> tuple[str, Telemetry]:
    payload = inbound.payload
    if len(payload) > _LARGEST:
        raise WireError("message.too_large", f"{_KIND} has at most {_LARGEST} bytes.")
    try:
        sealed = _envelopes.decode(payload)
        if sealed.kind == _KIND:
            return sealed.body, _messages.decode(sealed.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:  # the last: 10,000 brackets
        raise WireError("message.malformed", f"The message does not parse: {error}") from error
    message = open_envelope(payload, topic=inbound.topic, public_key_of=lambda _: None)
    raise WireError("message.wrong_channel", f"A {type(message).__name__} does not belong on this topic.")
