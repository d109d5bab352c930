"""Which boards would serve a model. Pure.

What devices of a board measured counts as it is. Of other boards the specification says how fast they can be at most;
what share of it a network reaches differs by thirty times, so an estimate is a wide range, and says so.

Sources: the roofline (Williams et al. 2009, doi:10.1145/1498765.1498785): no network is faster than its arithmetic at
the peak rate, or than its weights at the full memory bandwidth. The share of the peak: Jouppi et al. 2017,
arXiv:1704.04760, table 3: six production networks reach 2.8 to 86.0 of the 92 int8 tera-operations a second of a chip.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from controller.profiles.boards import BoardSpec, Figure

LEAST_SHARE: Final = 2.8 / 92
MOST_SHARE: Final = 86.0 / 92
SHARE_SOURCE: Final = "networks reach 3 to 93 % of a peak (Jouppi et al. 2017, arXiv:1704.04760, table 3)"
_INT8_BY_FP32: Final = 4  # int8 lanes for each float lane of a vector unit: how much faster int8 is at most
_MEMORY_SHARE: Final = 0.8  # of the memory, for a model

Source = Literal["profile", "specification", "none"]


class Verdict(StrEnum):
    """Whether a board would serve."""

    SERVES = "serves"
    MAY_SERVE = "may_serve"
    DOES_NOT_SERVE = "does_not_serve"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A variant of the model.

    Attributes:
        macs: Multiply-accumulates of one inference; None where nobody counted them.
        measured: Hardware's words to (median, 95th percentile) in milliseconds, where its golden set passed.
        failed: Words of hardware where its golden set failed.
    """

    variant_id: str
    runtime: str
    size_bytes: int
    accuracy: float
    is_int8: bool
    macs: float | None = None
    measured: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked for; None where it does not matter."""

    max_accuracy_drop: float = 0.02
    max_latency_ms: float | None = None
    max_power_w: float | None = None
    temperature_min_c: float | None = None
    temperature_max_c: float | None = None
    connectivity: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long an inference takes on a board: at least, most likely, at most.

    Attributes:
        is_conditional: Whether it needs an accelerator that has to be set up.
    """

    least_ms: float
    likely_ms: float
    most_ms: float
    source: Source
    said: str
    is_conditional: bool = False


@dataclass(frozen=True, kw_only=True)
class Advised:
    """A board, and whether it would serve."""

    board: BoardSpec
    verdict: Verdict
    reasons: list[str]
    variant_id: str | None = None
    latency: Latency | None = None


@dataclass(frozen=True)
class _Check:
    """One thing that is asked for: True, False, or None where it may be."""

    passes: bool | None
    said: str


def advise(boards: Sequence[BoardSpec], offers: Sequence[Offer], target: Target) -> list[Advised]:
    """Judge boards, those that would serve first, of these the quickest."""
    order = {verdict: place for place, verdict in enumerate(Verdict)}
    found = [_advise(board, offers, target) for board in boards]
    return sorted(
        found,
        key=lambda one: (
            order[one.verdict],
            math.inf if one.latency is None else one.latency.likely_ms,
            one.board.name,
        ),
    )


def latency_on(board: BoardSpec, offer: Offer) -> Latency | None:
    """Give how long a variant takes on a board; None where nothing says anything.

    >>> flops = Figure(value=100e9, unit="operations/s", source="a data sheet")
    >>> board = BoardSpec(name="b", title="B", runtimes=["litert"], figures={"fp32_flops": flops})
    >>> offer = Offer(
    ...     variant_id="v", runtime="litert", size_bytes=4_000_000, accuracy=0.9, is_int8=False, macs=50e6
    ... )
    >>> found = latency_on(board, offer)
    >>> round(found.least_ms, 2), round(found.likely_ms, 1), round(found.most_ms, 1), found.source
    (1.07, 5.9, 32.9, 'specification')
    """
    measured = [times for words, times in offer.measured.items() if _is_board(board, words)]
    if measured:
        p50s, p95s = [p50 for p50, _ in measured], [p95 for _, p95 in measured]
        middle = sorted(p50s)[len(p50s) // 2]
        said = f"measured by {len(measured)} hardware {'class' if len(measured) == 1 else 'classes'} of it"
        return Latency(least_ms=min(p50s), likely_ms=middle, most_ms=max(p95s), source="profile", said=said)
    return _by_specification(board, offer)


def _advise(board: BoardSpec, offers: Sequence[Offer], target: Target) -> Advised:
    if not board.runtimes:
        reason = "Shoal's agent does not run there; the model has to be built into its firmware."
        return Advised(board=board, verdict=Verdict.DOES_NOT_SERVE, reasons=[reason])
    general = [*_power(board, target), *_temperature(board, target), *_connectivity(board, target)]
    best = max((offer.accuracy for offer in offers), default=0.0)
    fitting = [
        offer
        for offer in offers
        if offer.runtime in board.runtimes
        and offer.accuracy >= best - target.max_accuracy_drop
        and not any(_is_board(board, words) for words in offer.failed)
    ]
    if not fitting:
        why = f"There is no variant for {', '.join(board.runtimes)} that is accurate enough and proven there."
        refused = [check.said for check in general if check.passes is False]
        verdict = Verdict.DOES_NOT_SERVE if refused else Verdict.UNKNOWN
        return Advised(board=board, verdict=verdict, reasons=[*refused, why])
    return min((_with(board, offer, target, general) for offer in fitting), key=_preference)


def _preference(advised: Advised) -> tuple[int, bool, float, str]:
    latency = advised.latency
    is_guess = latency is None or latency.source != "profile"
    likely = math.inf if latency is None else latency.likely_ms
    return list(Verdict).index(advised.verdict), is_guess, likely, advised.variant_id or ""


def _with(board: BoardSpec, offer: Offer, target: Target, general: Sequence[_Check]) -> Advised:
    latency = latency_on(board, offer)
    checks = [*general, *_memory(board, offer), *_latency(latency, target)]
    is_unknown = latency is None and target.max_latency_ms is not None
    if any(check.passes is False for check in checks):
        verdict = Verdict.DOES_NOT_SERVE
    elif is_unknown:
        verdict = Verdict.UNKNOWN
    elif any(check.passes is None for check in checks):
        verdict = Verdict.MAY_SERVE
    else:
        verdict = Verdict.SERVES
    reasons = [check.said for check in sorted(checks, key=lambda check: (check.passes is not False, check.passes or 0))]
    return Advised(board=board, verdict=verdict, reasons=reasons, variant_id=offer.variant_id, latency=latency)


def _by_specification(board: BoardSpec, offer: Offer) -> Latency | None:
    if offer.macs is None:
        return None
    rate = board.figures.get("int8_ops_per_s") if offer.is_int8 else None
    gain = 1
    if rate is None:
        rate, gain = board.figures.get("fp32_flops"), _INT8_BY_FP32 if offer.is_int8 else 1
    if rate is None:
        return None
    operations = 2 * offer.macs  # a multiplication and an addition
    bandwidth = board.figures.get("memory_bandwidth")
    weights_ms = 0.0 if bandwidth is None else offer.size_bytes / _most(bandwidth) * 1e3
    least = max(operations / (_most(rate) * gain * MOST_SHARE) * 1e3, weights_ms)
    most = max(operations / (rate.value * LEAST_SHARE) * 1e3, least)
    return Latency(
        least_ms=least,
        likely_ms=math.sqrt(least * most),
        most_ms=most,
        source="specification",
        said=f"from {rate.source}; {SHARE_SOURCE}",
        is_conditional=rate.needs is not None,
    )


def _latency(latency: Latency | None, target: Target) -> list[_Check]:
    wanted = target.max_latency_ms
    if latency is None:
        said = "Nothing says how fast it is: no profile of it, and no figures to estimate from."
        return [] if wanted is None else [_Check(None, said)]
    told = f"{latency.least_ms:.3g} to {latency.most_ms:.3g} ms, {latency.said}."
    if latency.is_conditional:
        told += " It counts only with its accelerator set up."
    if wanted is None:
        return [_Check(None if latency.is_conditional else True, told)]
    if latency.least_ms > wanted:
        return [_Check(False, f"Too slow for {wanted:g} ms: {told}")]
    if latency.most_ms > wanted or latency.is_conditional:
        return [_Check(None, f"Perhaps within {wanted:g} ms: {told}")]
    return [_Check(True, f"Within {wanted:g} ms: {told}")]


def _memory(board: BoardSpec, offer: Offer) -> list[_Check]:
    memory = board.figures.get("memory_bytes")
    if memory is None:
        return []
    if offer.size_bytes > _most(memory) * _MEMORY_SHARE:
        return [_Check(False, f"The model's {offer.size_bytes} bytes do not fit its memory ({memory.source}).")]
    if offer.size_bytes > memory.value * _MEMORY_SHARE:
        return [_Check(None, f"The model fits only where it has more memory than the least ({memory.source}).")]
    return []


def _power(board: BoardSpec, target: Target) -> list[_Check]:
    wanted, load = target.max_power_w, board.figures.get("load_w")
    if wanted is None:
        return []
    if load is None:
        return [_Check(None, "The catalogue does not say what it draws.")]
    drawn = f"It draws {load.value:g} to {_most(load):g} W ({load.source})."
    if load.value > wanted:
        return [_Check(False, f"More than {wanted:g} W: {drawn}")]
    return [_Check(None if _most(load) > wanted else True, drawn)]


def _temperature(board: BoardSpec, target: Target) -> list[_Check]:
    checks = []
    coldest, hottest = board.figures.get("temperature_min_c"), board.figures.get("temperature_max_c")
    for wanted, stated, name, is_cold in (
        (target.temperature_min_c, coldest, "cold", True),
        (target.temperature_max_c, hottest, "hot", False),
    ):
        if wanted is None:
            continue
        if stated is None:
            checks.append(_Check(None, f"The catalogue does not say how {name} it may be."))
            continue
        passes = stated.value <= wanted if is_cold else stated.value >= wanted
        limit = f"It is made for {'no less' if is_cold else 'no more'} than {stated.value:g} °C ({stated.source})."
        checks.append(_Check(passes, limit))
    return checks


def _connectivity(board: BoardSpec, target: Target) -> list[_Check]:
    missing = sorted(target.connectivity - set(board.connectivity))
    return [_Check(False, f"It lacks {', '.join(missing)}.")] if missing else []


def _is_board(board: BoardSpec, words: str) -> bool:
    return any(known.lower() in words.lower() for known in board.facts)


def _most(figure: Figure) -> float:
    return figure.value if figure.most is None else figure.most
