"""Finds good recipes without trying all: what needs no training is tried first, the rest only where it may still win.

1. Every recipe without training is tried: that is cheap.
2. Each trained network is *probed*: trained for a fraction of its epochs and looked at on a part of the evaluation set.
   Size and latency do not depend on how well it was trained, so a probe gives two of the three axes exactly, and the
   third with a bound: full training recovers at most most of what is lost.
3. Networks are trained to the end in the order in which they may add most to the hypervolume of what is there. One that
   may add hardly anything, even by its bound, is stopped; so is everything when the trials are used up.

A shortened training as the first rung is successive halving's (Jamieson and Talwalkar 2016, arXiv:1502.07943); the
order is that of the expected hypervolume improvement (Emmerich 2005) with a bound instead of an expectation. Pure, and
the same for the same figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Final

from controller.compression.choosing.budget import Budget
from controller.compression.choosing.pareto import Point, hypervolume
from controller.compression.choosing.planning import Tried, apart, group_of, units_of, weight_of
from controller.compression.choosing.recipe import (
    FP16,
    FP32,
    INT8,
    INT8_DYNAMIC,
    INT8_NNCF,
    ONNX,
    PRESETS,
    PROGRAM,
    Pipeline,
    Step,
    check_runtime,
    program_steps,
    trial_key,
)
from controller.errors import Invalid
from controller.jobs.states import TrialState
from controller.jobs.units import Unit

PROBE_SHARE: Final = 0.25  # of the evaluation set
PROBE_EPOCHS: Final = 8  # a probe has one of so many epochs
_RECOVERED: Final = 0.8  # of what a probe loses full training gives back at most, before it was seen
_DOUBT: Final = 0.1  # added to the share that was seen to be given back
_SLACK: Final = 0.002  # a trained network may be a little better than the version itself
_LEAST_GAIN: Final = 0.05  # of the hypervolume that is there
_MARGIN: Final = 1.05  # the reference point is so many times the largest and the slowest

_TRAINING: Final = {"learning_rate": 0.01, "batch_size": 32}
_PRUNED: Final = (0.25, 0.5, 0.75)
_WIDTHS: Final = (0.25, 0.5)


@dataclass(frozen=True, kw_only=True)
class Searching:
    """How a search stands.

    Attributes:
        tried: What has ended, by `trial_key`.
        probes: What probes found, by unit: figures by `trial_key`, `accuracy` among them unless it could not be made.
        networks: Digests of what steps have made of the network already.
        running: Keys of the units at work: nothing is given up before it is known what they add.
        budget: None before the version's score is known.
        score: The version's own.
    """

    space: Sequence[Pipeline]
    tried: Mapping[str, Tried]
    probes: Mapping[str, Mapping[str, Mapping[str, Any]]]
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


def space(runtimes: Sequence[str], format: str, *, has_training: bool) -> list[Pipeline]:
    """Give all recipes that a search may try, the full grid, each with the runtimes that can run it.

    >>> [one.name for one in space(["onnxruntime"], "onnx", has_training=False)][:3]
    ['int8', 'fp32', 'fp16']
    """
    if format not in (PROGRAM, ONNX):
        return _fitting([("as-is", ())], runtimes, format)
    static = PRESETS[INT8][0]
    light: list[tuple[str, tuple[Step, ...]]] = [
        (name, PRESETS[name]) for name in (INT8, FP32, FP16, INT8_DYNAMIC, INT8_NNCF)
    ]
    light += [(f"int8-{how}", ({**static, "calibration": how},)) for how in ("percentile", "entropy")]
    trained = _trained(static) if has_training and format == PROGRAM else []
    return _fitting([*light, *trained], runtimes, format)


def choose(searching: Searching) -> Choice:
    """Say what is tried next."""
    whole = weight_of(searching.space)
    light = [one for one in searching.space if not program_steps(one.steps)][: searching.max_trials]
    units = units_of(light, searching.tried, whole)
    if searching.budget is None:  # until the version's own answers are known
        return Choice(units=units[:1])
    networks = _networks(searching)
    unprobed = [_probe_unit(group, of) for group, of in networks.items() if f"probe {group}" not in searching.probes]
    if units or unprobed:
        return Choice(units=apart([*units, *unprobed], searching.networks, searching.running))
    choice = _promote(searching, networks, whole)
    return replace(choice, units=apart(choice.units, searching.networks, searching.running))


def probe_steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Give a pipeline for a probe: a fraction of the epochs, and of what distillation tries the first alone.

    >>> probe_steps([{"op": "prune", "training": {"epochs": 8}}])
    [{'op': 'prune', 'training': {'epochs': 1}}]
    """
    probed = []
    for step in steps:
        short = dict(step)
        for name in ("training", "aware"):
            if short.get(name):
                short[name] = {**short[name], "epochs": max(1, round(short[name]["epochs"] / PROBE_EPOCHS))}
        for name in ("temperatures", "weights"):
            if name in short:
                short[name] = short[name][:1]
        probed.append(short)
    return probed


def points(tried: Mapping[str, Tried], budget: Budget) -> list[Point]:
    """Give the points of the trials that are inside the budget."""
    return [
        _point(one.runtime, one.figures, budget)
        for one in tried.values()
        if one.state is TrialState.SUCCEEDED and not budget.excess(one.runtime, one.figures)
    ]


def corner(figures: Sequence[tuple[str, Mapping[str, Any]]], budget: Budget) -> Point:
    """Give the reference point of a search: a little beyond the largest, the slowest and the worst that is allowed."""
    all_points = [_point(runtime, one, budget) for runtime, one in figures]
    return Point(
        _MARGIN * max((point.size_bytes for point in all_points), default=1.0),
        _MARGIN * max((point.latency_ms for point in all_points), default=1.0),
        1.0 - budget.min_accuracy + _SLACK,
    )


def _promote(searching: Searching, networks: Mapping[str, Sequence[Pipeline]], whole: float) -> Choice:
    """Choose which networks are trained to the end, greedily by what they may add; the others are stopped."""
    budget = searching.budget
    if budget is None:
        return Choice(units=[])
    measured = [(one.runtime, one.figures) for one in searching.tried.values() if "latency_p50_ms" in one.figures]
    reference = corner(measured, budget)
    have = points(searching.tried, budget)
    bounds = {group: _bound(of, searching.probes[f"probe {group}"], searching) for group, of in networks.items()}
    left = searching.max_trials - len({one.recipe for one in searching.tried.values() if one.state != "stopped"})
    chosen: list[str] = []
    waiting = sorted(networks)
    while waiting and left > 0:
        volume = hypervolume(have, reference)
        gains = {group: hypervolume([*have, *bounds[group]], reference) - volume for group in waiting}
        best = max(waiting, key=lambda group: (gains[group], group))
        if gains[best] <= _LEAST_GAIN * volume or gains[best] <= 0:
            break
        chosen.append(best)
        waiting.remove(best)
        have = [*have, *bounds[best]]
        left -= len(networks[best])
    if chosen:
        # The first ones first: what they really add decides about the others, when a worker is free for them.
        return Choice(units=[unit for group in chosen for unit in units_of(networks[group], searching.tried, whole)])
    if searching.running:
        return Choice(units=[])
    why = "It could not add to the front any more." if left > 0 else "The trials are used up."
    return Choice(units=[], stopped=[(one, why) for group in waiting for one in networks[group]])


def _bound(pipelines: Sequence[Pipeline], probe: Mapping[str, Mapping[str, Any]], searching: Searching) -> list[Point]:
    """Give the points that a network may reach at best."""
    budget, recovered = searching.budget, _recovered(searching)
    found = []
    for one in pipelines:
        for runtime in one.runtimes:
            figures = probe.get(trial_key(one.name, runtime), {})
            if "accuracy" not in figures or budget is None:
                continue
            lost = max(0.0, searching.score - figures["accuracy"])
            accuracy = min(1.0, figures["accuracy"] + recovered * lost + _SLACK)
            best = {**figures, "accuracy": accuracy}
            if not budget.excess(runtime, best):
                found.append(_point(runtime, best, budget))
    return found


def _recovered(searching: Searching) -> float:
    """Give which share of what a probe loses full training gives back, as far as this search has seen it."""
    seen = []
    for found in searching.probes.values():
        for key, figures in found.items():
            lost = searching.score - figures.get("accuracy", searching.score)
            if key in searching.tried and "accuracy" in searching.tried[key].figures and lost > _SLACK:
                seen.append((searching.tried[key].figures["accuracy"] - figures["accuracy"]) / lost)
    return min(1.0, fmean(seen) + _DOUBT) if seen else _RECOVERED


def _point(runtime: str, figures: Mapping[str, Any], budget: Budget) -> Point:
    return Point(float(figures["size_bytes"]), budget.latency_ms(runtime, figures), 1.0 - float(figures["accuracy"]))


def _networks(searching: Searching) -> dict[str, list[Pipeline]]:
    """Give the pipelines that are to be tried still, by the trained network that they share."""
    trained = [one for one in searching.space if program_steps(one.steps)]
    groups: dict[str, list[Pipeline]] = {}
    for one in trained:
        if any(trial_key(one.name, runtime) not in searching.tried for runtime in one.runtimes):
            groups.setdefault(group_of(one, one.runtimes[0]), []).append(one)
    return groups


def _probe_unit(group: str, pipelines: Sequence[Pipeline]) -> Unit:
    (unit,) = units_of(pipelines, (), 1.0)
    short = [{**one, "steps": probe_steps(one["steps"])} for one in unit.spec["pipelines"]]
    key = f"probe {group}"
    return Unit(key=key, spec={"unit": key, "pipelines": short, "probe": PROBE_SHARE}, share=0.0)


def _trained(static: Step) -> list[tuple[str, tuple[Step, ...]]]:
    """Give the recipes that train: pruned, distilled, both, binary; each in float32 and int8 where that makes sense."""
    networks: list[tuple[str, tuple[Step, ...]]] = []
    for keep in _PRUNED:
        networks.append((f"prune{round(100 * keep)}", (_prune(keep),)))
    for width in _WIDTHS:
        networks.append((f"distill{round(100 * width)}", (_distill(width),)))
    networks.append(("distill50-prune50", (_distill(0.5), _prune(0.5))))
    binarize: Step = {"op": "binarize", "ends": "int8", "training": {**_TRAINING, "epochs": 8}}
    made = [
        (f"{name}{suffix}", (*steps, *last))
        for name, steps in networks
        for suffix, last in (("", ()), ("-int8", (static,)))
    ]
    made += [("binary", (binarize,)), ("prune50-binary", (_prune(0.5), binarize))]
    return made


def _prune(keep: float) -> Step:
    return {
        "op": "prune",
        "method": "channels",
        "keep": keep,
        "target": "macs",
        "training": {**_TRAINING, "epochs": 8},
    }


def _distill(width: float) -> Step:
    return {
        "op": "distill",
        "width": width,
        "student": None,
        "temperatures": [2.0, 4.0],
        "weights": [0.5, 0.9],
        "training": {**_TRAINING, "learning_rate": 0.05, "epochs": 16},
    }


def _fitting(recipes: Sequence[tuple[str, tuple[Step, ...]]], runtimes: Sequence[str], format: str) -> list[Pipeline]:
    found = []
    for name, steps in recipes:
        able = tuple(runtime for runtime in runtimes if _fits(name, steps, runtime, format))
        if able:
            found.append(Pipeline(name, steps, able))
    return found


def _fits(name: str, steps: Sequence[Step], runtime: str, format: str) -> bool:
    try:
        check_runtime(name, steps, runtime, format)
    except Invalid:
        return False
    return True
