"""Samples summed up over steps of time, and the newest of each kind. Pure; times are microseconds since 1970.

Sums are free of order: whatever comes late falls into the step in which it was taken.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from controller.telemetry.arrival import MICROSECONDS

MAX_KINDS: Final = 256  # of a device's newest figures: kinds are an open set, and a device may invent them


class Samples(msgspec.Struct):
    """What is needed of a message that was checked before."""

    offsets: list[float]
    series: dict[str, list[float | None]]
    dropped: int = 0


class Sums(NamedTuple):
    """Samples of one kind together."""

    counted: int
    total: float
    least: float
    most: float


class Newest(NamedTuple):
    """The newest figure of a kind, and when it was taken."""

    value: float
    at: int


Figures = dict[str, Sums]
samples_decoder: Final = msgspec.json.Decoder(Samples)
figures_decoder: Final = msgspec.json.Decoder(Figures)
newest_decoder: Final = msgspec.json.Decoder(dict[str, Newest])


def times_of(samples: Samples, begin_at: int) -> list[int]:
    """Give when each sample was taken.

    >>> times_of(Samples(offsets=[2.0, 3.5], series={}), 100)
    [100, 1500100]
    """
    first = samples.offsets[0]
    return [begin_at + int((offset - first) * MICROSECONDS) for offset in samples.offsets]


def sum_up(samples: Samples, times: Sequence[int], step: int) -> Iterator[tuple[int, Figures]]:
    """Give the sums of a message for each step of time that it touches.

    >>> message = Samples(offsets=[0.0, 1.0, 2.0], series={"cpu.ratio": [0.5, None, 0.25]})
    >>> [(bucket, list(figures["cpu.ratio"])) for bucket, figures in sum_up(message, [1, 2, 11], 10)]
    [(0, [1, 0.5, 0.5, 0.5]), (10, [1, 0.25, 0.25, 0.25])]
    """
    begin = 0
    while begin < len(times):
        bucket = times[begin] // step * step
        end = bisect_left(times, bucket + step, begin)
        figures: Figures = {}
        for kind, column in samples.series.items():
            present = [figure for figure in column[begin:end] if figure is not None]
            if present:
                figures[kind] = Sums(len(present), sum(present), min(present), max(present))
        if figures:
            yield bucket, figures
        begin = end


def merge(figures: Figures, others: Mapping[str, Sums]) -> None:
    """Add sums to sums.

    >>> kept = {"cpu.ratio": Sums(1, 0.5, 0.5, 0.5)}
    >>> merge(kept, {"cpu.ratio": Sums(2, 0.25, 0.0, 0.25)})
    >>> kept
    {'cpu.ratio': Sums(counted=3, total=0.75, least=0.0, most=0.5)}
    """
    for kind, sums in others.items():
        known = figures.get(kind)
        if known is not None:
            sums = Sums(
                known.counted + sums.counted,
                known.total + sums.total,
                min(known.least, sums.least),
                max(known.most, sums.most),
            )
        figures[kind] = sums


def renew(newest: dict[str, Newest], samples: Samples, times: Sequence[int]) -> None:
    """Put the figures of a message in, where they are newer; of too many kinds the ones that went silent first go."""
    for kind, column in samples.series.items():
        known = newest.get(kind)
        for index in range(len(column) - 1, -1, -1):
            figure = column[index]
            if figure is not None:
                if known is None or times[index] >= known.at:
                    newest[kind] = Newest(figure, times[index])
                break
    if len(newest) > MAX_KINDS:
        for kind in sorted(newest, key=lambda one: newest[one].at)[: len(newest) - MAX_KINDS]:
            del newest[kind]


def choose_step(begin: int, end: int, wanted: float | None, *, least: int, most_points: int) -> int:
    """Give the length of a step: a multiple of `least`, not shorter than wanted, and few enough points.

    >>> choose_step(0, 3600, None, least=1, most_points=500), choose_step(0, 86_400, 1000, least=900, most_points=500)
    (8, 1800)
    """
    needed = max(math.ceil(wanted or 0), -(-(end - begin) // most_points), least)
    return -(-needed // least) * least


def group(points: Iterable[tuple[int, float]], step: int) -> dict[int, Sums]:
    """Sum up single figures by steps of time."""
    found: dict[int, Sums] = {}
    for at, value in points:
        bucket = at // step * step
        known = found.get(bucket)
        if known is None:
            found[bucket] = Sums(1, value, value, value)
        else:
            found[bucket] = Sums(
                known.counted + 1, known.total + value, min(known.least, value), max(known.most, value)
            )
    return found
