"""MQTT about devices: presence and facts."""

from controller.devices import service as devices
from controller.executions import service as executions
from controller.gateway.access import Context
from shoal.wire.devices import Birth, FactsReport, Will


def on_birth(context: Context, birth: Birth) -> None:
    """A session began: make both sides agree again."""
    if devices.note_birth(context.session, context.device, birth, context.now):
        executions.on_birth(context.session, context.device, birth.open_executions, context.now)


def on_will(context: Context, will: Will) -> None:
    """A session ended; timers of a device that has gone stop."""
    devices.note_will(context.session, context.device, will, context.now)
    if not context.device.online:
        executions.on_offline(context.session, context.device, context.now)


def on_facts(context: Context, report: FactsReport) -> None:
    """A device said what it is."""
    devices.save_facts(context.device, report, context.now)
