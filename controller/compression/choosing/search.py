"""Finds good recipes without trying all: what needs no training is tried first, the rest only where it may still win.

1. Every recipe without training is tried: that is cheap, and says what each runtime and precision costs.
2. What each network that needs training may reach is expected from what was seen (`expecting`). The one that is
   expected to add the most to the hypervolume for its work is trained next; workers that are free meanwhile take what
   would be next if that one reached what was expected.
3. When nothing is expected to add more than hardly anything, or the trials are used up, the others are stopped.

An accuracy above the version's own counts as the version's own: on so many samples it is luck, and a search that pays
for luck has to try all. Sources: expected hypervolume improvement, Emmerich 2005; by its cost, Snoek et al. 2012,
section 3.2, arXiv:1206.2944; workers beside each other, Ginsbourger et al. 2010 (the kriging believer). Pure, and the
same for the same figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from controller.compression.choosing.budget import Budget
from controller.compression.choosing.candidates import Candidate, Trials, is_measured, samples
from controller.compression.choosing.expecting import Expected, Seen, expected
from controller.compression.choosing.pareto import Point, hypervolume
from controller.compression.choosing.planning import Tried, apart, units_of, weight_of
from controller.compression.choosing.recipe import Pipeline, program_steps
from controller.jobs.states import TrialState
from controller.jobs.units import Unit

_LEAST_GAIN: Final = 0.02  # of the hypervolume that is there
_NOTHING: Final = 0.01  # of all that could be covered: as much counts as there where nothing is inside the budget
_MARGIN: Final = 1.05  # the reference point is so many times the largest, the slowest and the worst
_DOUBT: Final = 1.25  # what is expected to be over a budget's size or latency by less may be inside
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclass(frozen=True, kw_only=True)
class Searching:
    """How a search stands.

    Attributes:
        tried: What has ended, by `trial_key`.
        networks: Digests of what steps have made of the network already.
        running: Keys of the units at work: nothing is given up before it is known what they add.
        budget: None before the version's score is known.
        score: The version's own.
    """

    space: Sequence[Pipeline]
    tried: Mapping[str, Tried]
    max_trials: int
    networks: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    budget: Budget | None = None
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a search does next.

    Attributes:
        units: That can run now, those that run among them.
        stopped: Pipelines that are given up, with why.
    """

    units: Sequence[Unit]
    stopped: Sequence[tuple[Pipeline, str]] = ()


def choose(searching: Searching) -> Choice:
    """Say what is tried next."""
    whole = weight_of(searching.space)
    light = [one for one in searching.space if not program_steps(one.steps)][: searching.max_trials]
    units = units_of(light, searching.tried, whole)
    if searching.budget is None:  # until the version's own answers are known
        return Choice(units=units[:1])
    if units:
        return Choice(units=units)
    candidates = Trials(searching.space, searching.tried).candidates(searching.networks)
    begun = {one.recipe for one in searching.tried.values() if one.state is not TrialState.STOPPED}
    left = searching.max_trials - len(begun)
    chosen = _chosen(searching, searching.budget, candidates, left)
    if chosen or searching.running:
        units = [unit for key in chosen for unit in units_of(candidates[key].pipelines, searching.tried, whole)]
        return Choice(units=apart(units, searching.networks, searching.running))
    why = "It is not expected to add to the front." if left > 0 else "The trials are used up."
    return Choice(units=[], stopped=[(one, why) for candidate in candidates.values() for one in candidate.pipelines])


def points(tried: Mapping[str, Tried], budget: Budget, score: float) -> list[Point]:
    """Give the points of the trials that are inside the budget.

    Args:
        score: The version's own.
    """
    return [
        _point(one.runtime, one.figures, budget, score)
        for one in tried.values()
        if one.state is TrialState.SUCCEEDED and not budget.excess(one.runtime, one.figures)
    ]


def corner(tried: Mapping[str, Tried], budget: Budget, score: float) -> Point:
    """Give the reference point of a search: a little beyond the largest, the slowest and the worst that is allowed."""
    measured = [_point(one.runtime, one.figures, budget, score) for one in tried.values() if is_measured(one)]
    return Point(
        _MARGIN * max((point.size_bytes for point in measured), default=1.0),
        _MARGIN * max((point.latency_ms for point in measured), default=1.0),
        _MARGIN * _drop(budget, score),
    )


def _chosen(searching: Searching, budget: Budget, candidates: Mapping[str, Candidate], left: int) -> list[str]:
    """Give the candidates that are worth their training, those that are being trained first, then the best first."""
    outlook = _Outlook(searching, budget)
    chosen = [key for key in candidates if key in searching.running]
    for key in chosen:
        outlook.believe(candidates[key])
    left -= sum(len(candidates[key].pipelines) for key in chosen)
    while left > 0 and len(chosen) < len(candidates):
        gains = {key: outlook.gain(one) for key, one in candidates.items() if key not in chosen}
        best = max(gains, key=lambda key: (gains[key] / candidates[key].work, key))
        if gains[best] <= outlook.least_gain:
            break
        chosen.append(best)
        outlook.believe(candidates[best])
        left -= len(candidates[best].pipelines)
    return chosen


class _Outlook:
    """What is there, and what may come to it."""

    def __init__(self, searching: Searching, budget: Budget) -> None:
        self._budget = budget
        self._score = searching.score
        self._samples = samples(list(searching.tried.values()))
        self._corner = corner(searching.tried, budget, searching.score)
        self._have = points(searching.tried, budget, searching.score)
        self._seen = Trials(searching.space, searching.tried).seen(searching.score)

    @property
    def least_gain(self) -> float:
        """What is not worth a training."""
        box = self._corner.size_bytes * self._corner.latency_ms * self._corner.loss
        return _LEAST_GAIN * max(hypervolume(self._have, self._corner), _NOTHING * box)

    def gain(self, candidate: Candidate) -> float:
        """Give the hypervolume that a candidate is expected to add: the mean over what its accuracy may be."""
        reached = self._expected(candidate)
        covered = hypervolume(self._have, self._corner)
        gains = []
        for node in _NODES:
            found = self._points(candidate, reached.mean + reached.deviation * node)
            gains.append(hypervolume([*self._have, *found], self._corner) - covered if found else 0.0)
        return candidate.chance * float(np.average(gains, weights=_WEIGHTS))

    def believe(self, candidate: Candidate) -> None:
        """Take a candidate for trained, as it is expected to become."""
        gained = self._expected(candidate).mean
        self._have = [*self._have, *self._points(candidate, gained)]
        self._seen = [*self._seen, Seen(candidate.steps, gained, self._samples)]

    def _expected(self, candidate: Candidate) -> Expected:
        return expected(candidate.steps, self._seen, score=self._score, drop=_drop(self._budget, self._score))

    def _points(self, candidate: Candidate, gained: float) -> list[Point]:
        found = []
        for runtime, costs in candidate.expected:
            accuracy = min(1.0, self._score + gained)
            hopeful = {name: cost / _DOUBT for name, cost in costs.items()}
            if not self._budget.excess(runtime, {**hopeful, "accuracy": accuracy}):
                found.append(_point(runtime, {**costs, "accuracy": accuracy}, self._budget, self._score))
        return found


def _point(runtime: str, figures: Mapping[str, Any], budget: Budget, score: float) -> Point:
    """Give a variant's point: its loss is against the version, and none where it is better."""
    lost = max(0.0, score - float(figures["accuracy"]))
    return Point(float(figures["size_bytes"]), budget.latency_ms(runtime, figures), lost)


def _drop(budget: Budget, score: float) -> float:
    """Give the accuracy that may be lost."""
    return max(score - budget.min_accuracy, 1e-3)
