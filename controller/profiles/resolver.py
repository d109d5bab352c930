"""Which variant of a version a device gets, and why the others do not. Pure.

What cannot run or is not good enough is out. Of what is left the fastest is chosen, by what the device's hardware class
measured, else by an estimate; latencies within 10 % are equal, and the smaller file wins. Where nothing of either is
known, the smallest is chosen, and of equal ones the fastest in the cloud.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from controller.profiles.estimate import Estimate

Source = Literal["profile", "estimate", "none"]
EQUAL_WITHIN: Final = 1.10  # medians of two runs on one device differ by less
MEMORY_SHARE: Final = 0.8  # of a device's memory, for a model: the rest is the system's


@dataclass(frozen=True, kw_only=True)
class VariantFigures:
    """A variant with what was measured in the cloud.

    Attributes:
        accuracy: 0..1, on the evaluation data set.
        latency_p50_ms: Median of single inferences, one thread.
        peak_memory_bytes: Of a process that runs it; None where it was not measured.
        is_int8: Whether its arithmetic is of int8.
    """

    id: str
    recipe: str
    runtime: str
    size_bytes: int
    accuracy: float
    latency_p50_ms: float
    peak_memory_bytes: int | None = None
    is_int8: bool = False


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a hardware class makes of a variant.

    Attributes:
        latency_p50_ms: None where its golden set failed before anything was measured.
    """

    passed: bool
    latency_p50_ms: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a device brings.

    Attributes:
        measured, estimated: By variant.
    """

    runtimes: frozenset[str]
    memory_bytes: int | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    estimated: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a variant may cost.

    Attributes:
        max_accuracy_drop: Below the most accurate variant of the version, 0..1. The reference is taken over all
            variants, so that a device with one runtime is not served one that only looks best there.
    """

    max_accuracy_drop: float = 0.02
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A variant, as it is for one device.

    Attributes:
        code: `chosen`, `worse`, `runtime.missing`, `golden.failed`, `accuracy.over_budget`, `size.over_budget`,
            `memory.too_little`, `latency.over_budget`.
        latency_ms: Measured or, from an estimate, the most likely; None where nothing is known.
        source: Of the latency: `profile`, `estimate`, `none`.
    """

    variant: VariantFigures
    code: str
    reason: str
    latency_ms: float | None
    source: Source


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a device gets, and all candidates: the chosen one, then from better to worse, then those that are out."""

    chosen: VariantFigures | None
    candidates: list[Judged]


def resolve(variants: Sequence[VariantFigures], hardware: Hardware, limits: Limits) -> Resolution:
    """Choose among all variants of a version.

    >>> def variant(name: str, size: int, accuracy: float) -> VariantFigures:
    ...     return VariantFigures(
    ...         id=name, recipe=name, runtime="onnxruntime", size_bytes=size, accuracy=accuracy, latency_p50_ms=1
    ...     )
    >>> both = [variant("int8", 90, 0.95), variant("fp32", 300, 0.96)]
    >>> bare = Hardware(runtimes=frozenset({"onnxruntime"}))
    >>> [resolve(both, bare, Limits(max_accuracy_drop=limit)).chosen.id for limit in (0.02, 0.0)]
    ['int8', 'fp32']
    >>> slow = {"int8": Measured(passed=True, latency_p50_ms=9.0), "fp32": Measured(passed=True, latency_p50_ms=5.0)}
    >>> resolve(both, Hardware(runtimes=bare.runtimes, measured=slow), Limits()).chosen.id
    'fp32'
    """
    best = max((variant.accuracy for variant in variants), default=0.0)
    fitting: list[VariantFigures] = []
    out: list[Judged] = []
    for variant in variants:
        fault = _fault(variant, hardware, limits, best)
        if fault is None:
            fitting.append(variant)
        else:
            out.append(_judged(variant, hardware, *fault))
    ranked = _rank(fitting, hardware)
    chosen = ranked[0] if ranked else None
    judged = [] if chosen is None else [_judged(chosen, hardware, "chosen", _praise(chosen, ranked, hardware))]
    judged += [_judged(one, hardware, "worse", _lack(one, ranked[0], hardware)) for one in ranked[1:]]
    return Resolution(chosen=chosen, candidates=[*judged, *sorted(out, key=lambda one: (one.code, one.variant.id))])


def _fault(variant: VariantFigures, hardware: Hardware, limits: Limits, best: float) -> tuple[str, str] | None:
    """Say why a variant is out, None where it is not."""
    measured = hardware.measured.get(variant.id)
    if variant.runtime not in hardware.runtimes:
        return "runtime.missing", f"The device does not offer {variant.runtime}."
    if measured is not None and not measured.passed:
        return "golden.failed", "Its golden set failed on this hardware; a new profile that passes brings it back."
    if variant.accuracy < best - limits.max_accuracy_drop:
        drop = f"{best - variant.accuracy:.1%} below the best variant"
        return "accuracy.over_budget", f"Its accuracy is {drop}; allowed are {limits.max_accuracy_drop:.1%}."
    if limits.max_size_bytes is not None and variant.size_bytes > limits.max_size_bytes:
        return "size.over_budget", f"It has {variant.size_bytes} bytes; allowed are {limits.max_size_bytes}."
    if hardware.memory_bytes is not None and (needed := _memory(variant, measured)) > (
        room := int(hardware.memory_bytes * MEMORY_SHARE)
    ):
        return "memory.too_little", f"It needs {needed} bytes of memory; the device has {room} for a model."
    latency, source = _latency(variant, hardware)
    if limits.max_latency_ms is not None and latency is not None and latency > limits.max_latency_ms:
        word = "takes" if source == "profile" else "would take"
        message = f"It {word} {latency:.3g} ms on this hardware; allowed are {limits.max_latency_ms:g} ms."
        return "latency.over_budget", message
    return None


def _rank(fitting: Sequence[VariantFigures], hardware: Hardware) -> list[VariantFigures]:
    """Order from better to worse.

    An estimate counts as its worst case: a guess must be good to beat a measurement. What is known goes before what is
    not; those within 10 % of the fastest are equally fast.
    """
    by_size = sorted(fitting, key=lambda one: (one.size_bytes, one.latency_p50_ms, one.id))
    times = {one.id: time for one in by_size if (time := _worst(one, hardware)) is not None}
    if not times:
        return by_size
    fastest = min(times.values())
    known = sorted(
        (one for one in by_size if one.id in times), key=lambda one: max(times[one.id], fastest * EQUAL_WITHIN)
    )  # stable: the fastest ones stay in the order of their size
    return [*known, *(one for one in by_size if one.id not in times)]


def _worst(variant: VariantFigures, hardware: Hardware) -> float | None:
    latency, source = _latency(variant, hardware)
    return hardware.estimated[variant.id].most_ms if source == "estimate" else latency


def _latency(variant: VariantFigures, hardware: Hardware) -> tuple[float | None, Source]:
    measured = hardware.measured.get(variant.id)
    if measured is not None and measured.latency_p50_ms is not None:
        return measured.latency_p50_ms, "profile"
    if variant.id in hardware.estimated:
        return hardware.estimated[variant.id].likely_ms, "estimate"
    return None, "none"


def _memory(variant: VariantFigures, measured: Measured | None) -> int:
    known = None if measured is None else measured.peak_memory_bytes
    return known or variant.peak_memory_bytes or variant.size_bytes


def _judged(variant: VariantFigures, hardware: Hardware, code: str, reason: str) -> Judged:
    latency, source = _latency(variant, hardware)
    return Judged(variant=variant, code=code, reason=reason, latency_ms=latency, source=source)


def _praise(chosen: VariantFigures, ranked: Sequence[VariantFigures], hardware: Hardware) -> str:
    if len(ranked) == 1:
        return "It is the only one that fits."
    latency, source = _latency(chosen, hardware)
    if latency is None:
        return "It is the smallest that fits; nothing was measured on such hardware."
    if source == "estimate":
        where = hardware.estimated[chosen.id].hardware
        return f"It would be the fastest here, about {latency:.3g} ms by what {where} measured."
    return f"It is the fastest here: {latency:.3g} ms by a profile of this hardware, or as fast and smaller."


def _lack(one: VariantFigures, chosen: VariantFigures, hardware: Hardware) -> str:
    latency, source = _latency(one, hardware)
    best, _ = _latency(chosen, hardware)
    if best is None:
        return "It is larger, or as large and slower in the cloud."
    if latency is None:
        return "Nothing is known of its latency on this hardware."
    if source == "estimate":
        most = hardware.estimated[one.id].most_ms
        return f"It would take about {latency:.3g} ms, perhaps {most:.3g} ms; the chosen one takes {best:.3g} ms."
    if latency <= best * EQUAL_WITHIN:
        return f"It is about as fast ({latency:.3g} ms), and larger."
    return f"It takes {latency:.3g} ms, the chosen one {best:.3g} ms."
