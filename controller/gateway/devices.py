"""MQTT about devices: presence and facts."""

from controller import events
from controller.devices import identity, sessions
from controller.devices import service as devices
from controller.devices.sessions import Presence
from controller.executions import service as executions
from controller.gateway.access import Context
from shoal.wire.devices import Birth, FactsReport, Will


def on_birth(context: Context, birth: Birth) -> None:
    """A session began: make both sides agree again. One identity on two machines is nobody's."""
    session, device, now = context.session, context.device, context.now
    presence = sessions.note_birth(session, device, birth, now)
    if presence is Presence.BORN:
        executions.on_birth(session, device, birth.open_executions, now)
    elif presence is Presence.CLONED:
        data = {"session": birth.session, "boot_id": birth.boot_id}
        events.record(session, "device.cloned", subject=device.id, device_id=device.id, data=data)
        identity.suspend(session, device.id, identity.CLONED, now)
        executions.on_state_change(session, device, now)


def on_will(context: Context, will: Will) -> None:
    """A session ended; timers of a device that has gone stop."""
    sessions.note_will(context.session, context.device, will, context.now)
    if not context.device.online:
        executions.on_offline(context.session, context.device, context.now)


def on_facts(context: Context, report: FactsReport) -> None:
    """A device said what it is."""
    devices.save_facts(context.session, context.device, report, context.now)
