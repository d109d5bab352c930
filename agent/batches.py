"""Samples put together column by column into messages, and the budget that says how much may be sent. Pure.

A message holds the names of its figures once, which is most of what a single sample would be.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from shoal.wire.telemetry import MAX_SAMPLES, MAX_SERIES

T = TypeVar("T")
_DAY_S: Final = 86_400.0
_LEAST_CAPACITY_BYTES: Final = 16 * 1024  # one message of the largest size
_DIGITS: Final = 4  # significant ones: a sensor knows no more


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured at one moment.

    Attributes:
        id: Grows with time, within one journal.
        boot_id: Of the machine's boot in which it was taken.
        ticks_s: Seconds since that boot, sleep included.
        at_s: The wall clock then, seconds since 1970 UTC.
        figures: Kind to figure, MessagePack.
    """

    id: int
    boot_id: str
    ticks_s: float
    at_s: float
    figures: bytes


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Samples as a message has them: see `shoal.wire.telemetry.Telemetry`."""

    begin: float
    offsets: list[float]
    series: dict[str, list[float | None]]


def columns(samples: Sequence[Sample], boot_id: str, clock_s: float) -> Columns:
    """Put samples together, in the order of their times.

    Args:
        samples: At least one.
        boot_id: Of the present boot. Its samples' times follow from how long ago they were: where the clock was set
            meanwhile, as on a board without a battery, that is truer than what it said then.
        clock_s: The wall clock now, minus the seconds since the boot.
    """

    def taken_s(sample: Sample) -> float:
        return clock_s + sample.ticks_s if sample.boot_id == boot_id else sample.at_s

    ordered = sorted(samples, key=taken_s)
    begin = max(0.0, round(taken_s(ordered[0]), 1))
    series: dict[str, list[float | None]] = {}
    for index, sample in enumerate(ordered):
        figures: dict[str, float] = msgspec.msgpack.decode(sample.figures)
        for kind, figure in figures.items():
            if kind not in series:
                if len(series) == MAX_SERIES:
                    continue
                series[kind] = [None] * len(ordered)
            series[kind][index] = rounded(figure)
    return Columns(begin=begin, offsets=[max(0.0, round(taken_s(one) - begin, 1)) for one in ordered], series=series)


def rounded(figure: float) -> float:
    """Give a figure with the digits that a sensor knows, as few bytes as JSON needs for it.

    >>> rounded(0.123456), rounded(16312345678.0), rounded(51.0)
    (0.1235, 16310000000, 51)
    """
    short = float(f"{figure:.{_DIGITS}g}")
    return int(short) if short.is_integer() else short


def largest(items: Sequence[T], seal: Callable[[Sequence[T]], bytes | None], most_bytes: float) -> tuple[int, bytes]:
    """Find how many of the oldest items fit into a message, at most `MAX_SAMPLES`.

    Args:
        seal: Gives the message of some items; None where it is larger than any message may be.

    Returns:
        Their count and the message; 0 and nothing where not even one fits.
    """
    fitting, found = 0, b""
    least, most = 1, min(len(items), MAX_SAMPLES)
    wanted = most  # mostly all fit
    while least <= most:
        message = seal(items[:wanted])
        if message is not None and len(message) <= most_bytes:
            fitting, found, least = wanted, message, wanted + 1
        else:
            most = wanted - 1
        wanted = (least + most) // 2
    return fitting, found


def spared(items: Sequence[T]) -> list[T]:
    """Choose what to throw away so that less remains: every second one of the older half; the ends stay.

    >>> spared([1, 2, 3, 4, 5, 6, 7, 8]), spared([1, 2, 3]), spared([1, 2])
    ([2, 4], [2], [])
    """
    return [] if len(items) < 3 else list(items[1 : max(len(items) // 2, 2) : 2])


class Budget:
    """A token bucket: what may be sent now.

    After a time without a network a quarter of a day's budget may be sent at once.

    Args:
        bytes_per_day: What flows in.
        left_bytes: What is left at `at_s`; None: as much as there can be.
        at_s: Seconds of the wall clock, as the budget outlives the process.
    """

    def __init__(self, bytes_per_day: float, left_bytes: float | None, at_s: float) -> None:
        self._rate = bytes_per_day / _DAY_S
        self._capacity = max(bytes_per_day / 4, _LEAST_CAPACITY_BYTES)
        self._left = self._capacity if left_bytes is None else min(left_bytes, self._capacity)
        self._at_s = at_s

    def left(self, at_s: float) -> float:
        """Give what may be sent at a time; a clock that was set back lets nothing flow in.

        >>> budget = Budget(864_000, 100.0, 0.0)
        >>> budget.left(10.0), budget.left(5.0), budget.left(1e9)
        (200.0, 200.0, 216000.0)
        """
        self._left = min(self._left + max(at_s - self._at_s, 0.0) * self._rate, self._capacity)
        self._at_s = at_s
        return self._left

    def spend(self, size: int) -> None:
        """Take what was sent."""
        self._left = max(self._left - size, 0.0)
