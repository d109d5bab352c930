"""What a network that was not trained yet may be expected to reach, from those that were. Pure.

A network is placed by its *depth*: how often its weights were halved (a binary weight counts as one halving more). What
it loses or gains in accuracy is a Gaussian process over that: a random walk in the depth, a part that all networks of
the same steps share, and noise as large as that of so many evaluation samples. The version itself, at depth 0, lost
nothing. How large the steps of the walk are is the budget's drop until more is known. Source: Rasmussen and Williams
2006, Gaussian processes for machine learning, sections 2.2 and 4.2; the scale is the mean of the prior and of what fits
best (5.4).

Size and latency are powers of the share of the weights that stays, for each runtime and precision: the size of the
share itself, the latency of its square root, until trained networks were measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from controller.compression.choosing.recipe import Step

_SAME_STEPS: Final = 0.5  # of the variance of one halving: what networks that were made alike have in common
_BINARY_DEPTH: Final = 1.0
_BINARY_SIZE: Final = 1 / 16  # a bit a weight, and the ends in 8 of them
_POWERS: Final = {"size_bytes": 1.0, "latency_p50_ms": 0.5}


@dataclass(frozen=True)
class Expected:
    """A normal distribution of what is gained in accuracy."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Seen:
    """A network that was trained.

    Attributes:
        steps: What changed it.
        gained: Its accuracy less the version's own, the mean of its trials.
        samples: That its accuracy was measured by.
    """

    steps: tuple[Step, ...]
    gained: float
    samples: int


@dataclass(frozen=True)
class Scaled:
    """A trial of a trained network beside the one of the version itself, on the same runtime at the same precision.

    Attributes:
        share: Of the weights that stay.
        ratios: Of the trial's `size_bytes` and `latency_p50_ms` by the other's.
    """

    share: float
    ratios: Mapping[str, float]


def share(steps: Sequence[Step]) -> float:
    """Give about which share of a network's weights, and of its sums, stays.

    >>> share([{"op": "distill", "width": 0.5}, {"op": "prune", "keep": 0.5}])
    0.125
    """
    kept = 1.0
    for step in steps:
        kept *= float(step.get("keep", 1.0)) * float(step.get("width") or 1.0) ** 2
    return kept


def expected(steps: Sequence[Step], seen: Sequence[Seen], *, score: float, drop: float) -> Expected:
    """Say what a network is expected to gain or lose.

    Args:
        steps: What would change it.
        score: The version's own.
        drop: What it may lose.

    >>> expected([{"op": "prune", "keep": 0.25}], [], score=0.9, drop=0.02)
    Expected(mean=0.0, deviation=0.03162277660168379)
    """
    prior = drop**2
    own = _covariance(steps, steps)
    if not seen:
        return Expected(0.0, math.sqrt(prior * own))
    between = np.array([[_covariance(one.steps, other.steps) for other in seen] for one in seen])
    gained = np.array([one.gained for one in seen])
    noise = np.diag([max(score * (1 - score), 1e-4) / one.samples for one in seen])
    best = gained @ np.linalg.solve(between + noise / prior, gained)
    variance = (prior + float(best)) / (1 + len(seen))
    with_it = np.array([_covariance(steps, one.steps) for one in seen])
    weights = np.linalg.solve(between + noise / variance, with_it)
    left = max(own - float(with_it @ weights), 0.0)
    return Expected(float(weights @ gained), math.sqrt(variance * left))


def figures(steps: Sequence[Step], base: Mapping[str, Any], scaled: Sequence[Scaled]) -> dict[str, float]:
    """Give the size and the latency that a network is expected to have on a runtime at a precision.

    Args:
        base: Figures of the version itself there.
        scaled: Trained networks that were measured there.

    >>> figures([{"op": "prune", "keep": 0.25}], {"size_bytes": 1000, "latency_p50_ms": 2.0}, [])
    {'size_bytes': 250.0, 'latency_p50_ms': 1.0}
    """
    kept = share(steps)
    is_binary = any(step["op"] == "binarize" for step in steps)
    told = {name: float(base[name]) * kept ** _power(name, power, scaled) for name, power in _POWERS.items()}
    return {**told, "size_bytes": told["size_bytes"] * (_BINARY_SIZE if is_binary else 1.0)}


def _power(name: str, power: float, scaled: Sequence[Scaled]) -> float:
    """Give the exponent that fits by least squares, held to the usual one as by one network of a third."""
    pairs = [(math.log(one.share), math.log(one.ratios[name])) for one in scaled]
    return (power + sum(x * y for x, y in pairs)) / (1.0 + sum(x * x for x, _ in pairs))


def _covariance(one: Sequence[Step], other: Sequence[Step]) -> float:
    alike = [step["op"] for step in one] == [step["op"] for step in other]
    return min(_depth(one), _depth(other)) + (_SAME_STEPS if alike else 0.0)


def _depth(steps: Sequence[Step]) -> float:
    is_binary = any(step["op"] == "binarize" for step in steps)
    return -math.log2(share(steps)) + (_BINARY_DEPTH if is_binary else 0.0)
