"""MQTT about what devices run: reported documents and receipts."""

from controller.devices import service as devices
from controller.gateway.access import Context
from controller.rollouts import service as rollouts
from shoal.wire.rollouts import Receipt, Reported


def on_reported(context: Context, reported: Reported) -> None:
    """A device said what it holds."""
    devices.save_reported(context.device, reported, context.now)


def on_receipt(context: Context, receipt: Receipt) -> None:
    """A device proved what it runs; a repeated receipt changes nothing."""
    if devices.add_receipt(context.session, context.device, receipt, context.envelope, context.now) is not None:
        rollouts.on_receipt(context.session, context.device, receipt, context.now)
