"""MQTT about telemetry."""

from controller.gateway.access import Context
from controller.telemetry import service as telemetry
from shoal.wire.telemetry import Telemetry


def on_telemetry(context: Context, sample: Telemetry) -> None:
    """A device sent a sample."""
    telemetry.save(context.session, context.device, sample, context.now)
