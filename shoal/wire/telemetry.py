"""Telemetry: unsigned figures for charts and alerts; nothing is decided on them."""

import msgspec

from shoal.wire.devices import Count, MessageId, ShortText


class ModelTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """What the serving process did with one model since it was loaded."""

    model: ShortText
    version: Count
    requests: Count
    failures: Count
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="telemetry"):
    """A sample of the device."""

    id: MessageId
    session: Count
    sequence: Count
    at: ShortText
    agent_rss_bytes: Count | None = None
    cpu_ratio: float | None = None
    memory_available_bytes: Count | None = None
    models: list[ModelTelemetry] = []
