"""Telemetry: unsigned figures for charts and alerts; nothing is decided on them.

A message carries several samples, column by column, because most of a single one would be names.
"""

from typing import Annotated

import msgspec

from shoal.wire.devices import Count, MessageId

MAX_SAMPLES = 240
MAX_SERIES = 96

Figure = Annotated[float, msgspec.Meta(ge=-1e18, le=1e18)]
Kind = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9._-]{0,95}\Z")]  # `$` would allow a line's end after it
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=4e9)]


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="telemetry"):
    """Samples of a device, oldest first.

    Attributes:
        begin: When the first sample was taken: seconds since 1970 UTC, by the device's clock.
        clock_offset_s: The controller's clock minus the device's, as the device last heard it; absent if it never did.
        offsets: Of each sample, seconds after `begin`; never falling.
        series: Kind to a figure for each sample; null where a sample has none. A kind is dotted and ends with its
            unit: `cpu.ratio`, `memory.available_bytes`, `power.watts`, `temperature.cpu_celsius`,
            `inference.digits.requests`.
        dropped: Samples taken since the message before that the byte budget, or a full store, threw away.
    """

    id: MessageId
    session: Count
    sequence: Count
    begin: Seconds
    offsets: Annotated[list[Seconds], msgspec.Meta(min_length=1, max_length=MAX_SAMPLES)]
    series: Annotated[
        dict[Kind, Annotated[list[Figure | None], msgspec.Meta(max_length=MAX_SAMPLES)]],
        msgspec.Meta(max_length=MAX_SERIES),
    ]
    clock_offset_s: Annotated[float, msgspec.Meta(ge=-4e9, le=4e9)] | None = None
    dropped: Count = 0
