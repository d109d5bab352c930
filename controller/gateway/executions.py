"""MQTT about executions."""

from controller.executions import service as executions
from controller.gateway.access import Context
from shoal.wire.executions import ExecutionReport


def on_report(context: Context, report: ExecutionReport) -> None:
    """A device said how an execution stands."""
    executions.on_report(context.session, context.device, report, context.now)
