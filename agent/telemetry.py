"""Figures for charts, unsigned and best effort: what is not sent now is not sent later."""

import asyncio
from contextlib import suppress

import msgspec
import psutil

from agent.errors import AgentError
from agent.identity import Identity
from agent.inference import Inference
from agent.link import Link
from agent.outbox import Outbox
from shoal.wire import topics
from shoal.wire.telemetry import ModelTelemetry, Telemetry


async def tell(*, identity: Identity, outbox: Outbox, inference: Inference, link: Link, interval_s: float) -> None:
    """Send a sample each `interval_s` until canceled."""
    process = psutil.Process()
    topic = topics.up(identity.device_id, "telemetry")
    psutil.cpu_percent()  # the first call gives nothing: it begins the interval
    while True:
        await asyncio.sleep(interval_s)
        with suppress(ConnectionError, AgentError):
            models = [msgspec.convert(figures, ModelTelemetry) for figures in await inference.figures()]
            stamp = outbox.stamp()
            sample = Telemetry(
                id=stamp.id,
                session=stamp.session,
                sequence=stamp.sequence,
                at=stamp.at,
                agent_rss_bytes=process.memory_info().rss,
                cpu_ratio=psutil.cpu_percent() / 100,
                memory_available_bytes=psutil.virtual_memory().available,
                models=models,
            )
            await link.publish("telemetry", identity.seal(sample, topic))
