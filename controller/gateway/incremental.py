"""MQTT about learning alone: evidence."""

from controller.gateway.access import Context
from controller.incremental import service as incremental
from shoal.wire.incremental import Evidence


def on_evidence(context: Context, evidence: Evidence) -> None:
    """A device gave its figures for a model that it watches."""
    incremental.on_evidence(context.session, context.device, evidence, context.now)
