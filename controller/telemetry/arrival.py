"""Whether a message of telemetry can be believed: its form, its times, its units. Pure.

A device's clock counts unless it is known to be off: then what the device heard of the controller's clock is added.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from shoal.wire.errors import WireError
from shoal.wire.telemetry import Telemetry

MICROSECONDS: Final = 1_000_000
TRUSTED_OFF_S: Final = 60.0  # a clock that is off by less is taken as it is: the way there takes time, too
AHEAD_S: Final = 300.0
LATE_S: Final = 7 * 86_400.0  # a device may keep samples that long while nobody hears it
_NEVER_NEGATIVE: Final = (0.0, math.inf)
_RANGES: Final = {
    "ratio": (0.0, 1.0),
    "celsius": (-100.0, 250.0),
    "bytes": _NEVER_NEGATIVE,
    "watts": _NEVER_NEGATIVE,
    "seconds": _NEVER_NEGATIVE,
    "ms": _NEVER_NEGATIVE,
}


@dataclass(frozen=True)
class Span:
    """When the samples of a message were taken: microseconds since 1970, by the controller's clock."""

    begin: int
    end: int


def check(message: Telemetry, now_s: float, kept_s: float) -> Span:
    """Refuse what cannot be, and give when the samples were taken.

    Args:
        now_s: The controller's clock, seconds since 1970.
        kept_s: How long messages are kept.

    Raises:
        WireError: `telemetry.disordered`, `telemetry.from_future`, `telemetry.too_old`, `telemetry.ragged`,
            `telemetry.wrong_unit`.
    """
    offsets = message.offsets
    if len(offsets) > 1 and offsets != sorted(offsets):
        raise WireError("telemetry.disordered", "The offsets of the samples fall: send them in order.")
    begin = message.begin
    off = message.clock_offset_s
    if off is not None and abs(off) > TRUSTED_OFF_S:
        begin += off
    first, last = begin + offsets[0], begin + offsets[-1]
    if last > now_s + AHEAD_S:
        raise WireError("telemetry.from_future", f"A sample is from {last - now_s:.0f} s ahead: set the clock.")
    if first < now_s - kept_s - LATE_S:
        raise WireError("telemetry.too_old", f"A sample is {(now_s - first) / 86_400:.1f} days old.")
    count = len(offsets)
    for kind, column in message.series.items():
        if len(column) != count:
            raise WireError("telemetry.ragged", f"{kind} has {len(column)} figures for {count} samples.")
        allowed = allowed_range(kind)
        if allowed is not None and not _is_within(column, *allowed):
            raise WireError("telemetry.wrong_unit", f"{kind} is not from {allowed[0]:g} to {allowed[1]:g}.")
    return Span(int(first * MICROSECONDS), int(last * MICROSECONDS))


@lru_cache(maxsize=4096)
def allowed_range(kind: str) -> tuple[float, float] | None:
    """Give what a kind's unit, its last word, allows; None for a unit that is not known.

    >>> allowed_range("cpu.ratio"), allowed_range("temperature.cpu_celsius"), allowed_range("network.bytes_per_s")
    ((0.0, 1.0), (-100.0, 250.0), None)
    """
    return _RANGES.get(kind.rpartition(".")[2].rpartition("_")[2])


def _is_within(column: Sequence[float | None], least: float, most: float) -> bool:
    if None in column:
        column = [figure for figure in column if figure is not None]
        if not column:
            return True
    return min(column) >= least and max(column) <= most  # type: ignore[type-var,operator]
