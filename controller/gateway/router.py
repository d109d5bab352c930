"""From a delivered message to its handler, in the transaction of its batch.

Each message has a savepoint of its own: one that is refused changes nothing, and does not hold up the others. Handlers
are idempotent and free of order, because a broker doubles and reorders; so telemetry can be taken as one, at the end.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from controller import observe
from controller.blobs import BlobStore
from controller.devices.lifecycle import Act, DeviceState, require
from controller.devices.tables import DeviceRow
from controller.errors import ShoalError
from controller.gateway import devices, executions, incremental, rollouts
from controller.gateway.access import Context, Inbound, device_of, open_message, read_ahead
from controller.gateway.errors import Refusals
from controller.gateway.telemetry import TelemetryDoor, is_telemetry
from shoal.wire.devices import Birth, FactsReport, Will
from shoal.wire.errors import WireError
from shoal.wire.executions import ExecutionReport
from shoal.wire.incremental import Evidence
from shoal.wire.rollouts import Receipt, Reported

_log: Final = logging.getLogger(__name__)


_HANDLERS: Final[dict[type, Callable[[Context, Any], None]]] = {
    Birth: devices.on_birth,
    Will: devices.on_will,
    FactsReport: devices.on_facts,
    Reported: rollouts.on_reported,
    Receipt: rollouts.on_receipt,
    ExecutionReport: executions.on_report,
    Evidence: incremental.on_evidence,
}


def take(session: Session, batch: Sequence[Inbound], blobs: BlobStore, telemetry: TelemetryDoor, now: datetime) -> None:
    """Do what messages ask for, or refuse them by name; failures of the database itself go to the caller."""
    refusals = Refusals()
    figures = [inbound for inbound in batch if is_telemetry(inbound.topic)]
    others = [inbound for inbound in batch if not is_telemetry(inbound.topic)]
    read = read_ahead(session, [inbound.topic for inbound in others])
    for inbound in others:
        _take(session, inbound, blobs, refusals, now)
    del read  # the session remembers a row for as long as somebody holds it
    telemetry.take(session, figures, refusals, now)
    refusals.save(session)


def _take(session: Session, inbound: Inbound, blobs: BlobStore, refusals: Refusals, now: datetime) -> None:
    device: DeviceRow | None = None
    try:
        with session.begin_nested():
            device = device_of(session, inbound.topic)
            require(DeviceState(device.state), Act.CONNECT, device.state_reason)
            message = open_message(device, inbound)
            handler = _HANDLERS.get(type(message))
            if handler is None:
                raise WireError("message.unsupported", "This controller does not take such messages.")
            context = Context(session=session, device=device, blobs=blobs, envelope=inbound.payload, now=now)
            handler(context, message)
            observe.MESSAGES.labels(kind=type(message).__name__).inc()
    except (ShoalError, WireError) as error:
        _log.info("refused on %r: %s", inbound.topic[:80], error.code)
        refusals.add(inbound, None if device is None else device.id, error)
    except DataError:
        # A value that the database never takes, e.g. a NUL in a text: delivered again, it would stop every device's
        # messages for ever.
        _log.info("refused on %r: the database cannot keep it", inbound.topic[:80])
        unfit = WireError("message.not_storable", "The database cannot keep what this message says.")
        refusals.add(inbound, None if device is None else device.id, unfit)
