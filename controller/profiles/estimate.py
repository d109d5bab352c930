"""How fast a variant would be on hardware that did not measure it. Pure.

Either from hardware that did measure it, by both sides' rates; or from the cloud, by how many times slower this
hardware was with the same recipe and runtime of other versions.

A model is bound by arithmetic, by memory, or by some of both (the roofline: Williams et al. 2009,
doi:10.1145/1498765.1498785). So its latency on the other hardware lies between what the ratio of the arithmetic rates
and what the ratio of the memory rates says; both were measured by the devices themselves, on one core.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

SLACK: Final = 1.25  # on both sides: rates are measured once, beside other work, and kernels differ by processor


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a machine does, measured; None where it was not.

    Attributes:
        fp32_macs_per_s, int8_macs_per_s: Multiply-accumulates on one core.
        memory_bytes_per_s: Copied in main memory, one core.
    """

    fp32_macs_per_s: float | None = None
    int8_macs_per_s: float | None = None
    memory_bytes_per_s: float | None = None

    def arithmetic(self, *, is_int8: bool) -> float | None:
        """Give the rate of the arithmetic that a variant uses."""
        return self.int8_macs_per_s if is_int8 and self.int8_macs_per_s else self.fp32_macs_per_s


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A latency that some hardware measured.

    Attributes:
        hardware: In words, to say where the figure comes from.
    """

    latency_p50_ms: float
    rates: Rates
    hardware: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A latency that nobody measured: at least, most likely, at most, in milliseconds."""

    least_ms: float
    likely_ms: float
    most_ms: float
    hardware: str


def estimate(measurements: Iterable[Measurement], rates: Rates, *, is_int8: bool) -> Estimate | None:
    """Estimate a variant's latency from the hardware whose rates are the most alike; None where rates are missing.

    Args:
        measurements: Of this very variant.
        rates: Of the hardware that is asked about.

    >>> pi4 = Rates(fp32_macs_per_s=4e9, memory_bytes_per_s=2e9)
    >>> pi5 = Rates(fp32_macs_per_s=16e9, memory_bytes_per_s=8e9)
    >>> found = estimate([Measurement(latency_p50_ms=40, rates=pi4, hardware="Pi 4")], pi5, is_int8=False)
    >>> found.least_ms, found.likely_ms, found.most_ms
    (8.0, 10.0, 12.5)
    """
    return surest(*(_scaled(measured, rates, is_int8) for measured in measurements))


def from_cloud(latency_p50_ms: float, times_slower: Sequence[float], hardware: str) -> Estimate | None:
    """Estimate a latency from the cloud's; None where the hardware was never compared with it.

    Args:
        latency_p50_ms: Of this variant, in the cloud.
        times_slower: Of other versions with the same recipe and runtime: the hardware's latency by the cloud's.

    >>> found = from_cloud(2.0, [4.0, 6.0, 5.0], "Pi 4")
    >>> found.least_ms, found.likely_ms, found.most_ms
    (6.4, 10.0, 15.0)
    """
    if not times_slower or latency_p50_ms <= 0:
        return None
    return Estimate(
        least_ms=latency_p50_ms * min(times_slower) / SLACK,
        likely_ms=latency_p50_ms * median(times_slower),
        most_ms=latency_p50_ms * max(times_slower) * SLACK,
        hardware=hardware,
    )


def surest(*estimates: Estimate | None) -> Estimate | None:
    """Give the estimate that says the most: the one whose ends are closest."""
    found = [one for one in estimates if one is not None]
    return min(found, key=lambda one: (one.most_ms / one.least_ms, one.hardware), default=None)


def _scaled(measured: Measurement, rates: Rates, is_int8: bool) -> Estimate | None:
    theirs, ours = measured.rates.arithmetic(is_int8=is_int8), rates.arithmetic(is_int8=is_int8)
    if not theirs or not ours:
        return None
    ratios = [theirs / ours]
    if measured.rates.memory_bytes_per_s and rates.memory_bytes_per_s:
        ratios.append(measured.rates.memory_bytes_per_s / rates.memory_bytes_per_s)
    least, most = min(ratios), max(ratios)
    return Estimate(
        least_ms=measured.latency_p50_ms * least / SLACK,
        likely_ms=measured.latency_p50_ms * math.sqrt(least * most),
        most_ms=measured.latency_p50_ms * most * SLACK,
        hardware=measured.hardware,
    )
