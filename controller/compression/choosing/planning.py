"""What a compression does next: which recipes go together to a worker, what follows a recipe that was not good enough,
and how the job ends. Pure.

A unit is what shares work: all that needs no training, by the interpreter that it needs; else what has the same trained
network. The first unit finds the version's own answers, with which all others are compared.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controller.compression.choosing.budget import Budget, closest
from controller.compression.choosing.recipe import (
    Pipeline,
    Step,
    check_runtime,
    digest,
    is_by_nncf,
    precision,
    program_steps,
    trial_key,
)
from controller.errors import Invalid
from controller.jobs.states import JobState, TrialState
from controller.jobs.units import End, Unit

_HERE: Final = frozenset({"onnxruntime", "openvino"})
_TRAINED_WEIGHT: Final = 4.0  # a trial of a trained network takes about so many times as long as another
_FLOAT_LAYERS: Final = 2
AWARE: Final[Step] = {"epochs": 4, "learning_rate": 0.01, "batch_size": 32}


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial that has ended."""

    recipe: str
    runtime: str
    steps: tuple[Step, ...]
    state: TrialState
    code: str = ""
    message: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a compression stands.

    Attributes:
        wanted: The pipelines that were asked for.
        tried: What has ended, by `trial_key`.
        networks: Digests of what steps have made of the network already.
        running: Keys of the units at work.
        measured_here: Runtimes whose latency counts as it is measured here, though the budget means certain devices.
        broken: What keeps the whole version from being made, if there is such.
        budget: None before the version's score is known, or where there is none.
    """

    format: str
    wanted: Sequence[Pipeline]
    tried: Mapping[str, Tried]
    has_reference: bool
    has_training: bool
    budget: Budget | None = None
    networks: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    measured_here: Sequence[str] = ()
    broken: End | None = None


def next_units(standing: Standing) -> list[Unit]:
    """Give the units that can run now, the first ones first; those that run are among them."""
    if standing.broken is not None:
        return []
    units = units_of(open_pipelines(standing), standing.tried, weight_of(_all_pipelines(standing)))
    return apart(units, standing.networks, standing.running) if standing.has_reference else units[:1]


def apart(units: Sequence[Unit], networks: Collection[str], running: Collection[str]) -> list[Unit]:
    """Leave out the units that would train what another one trains now: they wait until it is there.

    Args:
        networks: Digests of the steps whose networks are there.
        running: Keys of the units that run; the others wait for these first.
    """
    taken: set[str] = set()
    kept = []
    for unit in sorted(units, key=lambda one: one.key not in running):
        trained = [program_steps(one["steps"]) for one in unit.spec["pipelines"]]
        own = {digest(steps[:count]) for steps in trained for count in range(1, len(steps) + 1)} - {*networks}
        if unit.key in running or not own & taken:
            taken |= own
            kept.append(unit.key)
    return [unit for unit in units if unit.key in kept]


def done_share(standing: Standing) -> float:
    """Give how much of the whole has ended, 0..1."""
    whole = weight_of(_all_pipelines(standing))
    return 1.0 - weight_of(open_pipelines(standing), standing.tried) / whole if whole else 1.0


def open_pipelines(standing: Standing) -> list[Pipeline]:
    """Give what is to be tried still: what was asked for, and what follows from how that ended."""
    return [
        one
        for one in _all_pipelines(standing)
        if any(trial_key(one.name, runtime) not in standing.tried for runtime in one.runtimes)
    ]


def weight_of(pipelines: Iterable[Pipeline], without: Collection[str] = ()) -> float:
    """Give about how much work pipelines are, one runtime of one that is not trained being 1.

    Args:
        without: Keys of trials that do not count.
    """
    return sum(
        _TRAINED_WEIGHT if program_steps(one.steps) else 1.0
        for one in pipelines
        for runtime in one.runtimes
        if trial_key(one.name, runtime) not in without
    )


def units_of(pipelines: Sequence[Pipeline], tried: Collection[str], whole: float) -> list[Unit]:
    """Group pipelines into units, without what was tried.

    Args:
        whole: The weight of all that the job is about.

    >>> one = Pipeline("int8", ({"op": "quantize", "mode": "static"},), ("onnxruntime", "litert"))
    >>> [(unit.key, unit.share) for unit in units_of([one], [], 4.0)]
    [('here', 0.25), ('litert', 0.25)]
    """
    groups: dict[str, dict[str, Pipeline]] = {}
    for one in pipelines:
        for runtime in one.runtimes:
            if trial_key(one.name, runtime) not in tried:
                group = groups.setdefault(group_of(one, runtime), {})
                runtimes = group[one.name].runtimes if one.name in group else ()
                group[one.name] = Pipeline(one.name, one.steps, (*runtimes, runtime))
    ordered = sorted(groups, key=lambda key: (key != "here", key.startswith("trained"), key))
    return [_unit(key, list(groups[key].values()), whole) for key in ordered]


def ending(standing: Standing) -> End:
    """Say how a compression ends when nothing is left to try.

    It succeeds where each pair of recipe and runtime that was asked for has a variant, if need be by what followed it.
    """
    if standing.broken is not None:
        return standing.broken
    missing = []
    for one in standing.wanted:
        for runtime in one.runtimes:
            line = [standing.tried[key] for key in _line(one.name, runtime) if key in standing.tried]
            if not any(tried.state is TrialState.SUCCEEDED for tried in line):
                missing.append(line[0])
    result = summary(standing)
    if not missing:
        return End(state=JobState.SUCCEEDED, result=result)
    failed = [tried for tried in missing if tried.state is TrialState.FAILED]
    first = (failed or missing)[0]
    state = JobState.FAILED if failed else JobState.REFUSED
    verb = "failed" if failed else "was refused"
    message = f"{first.recipe} for {first.runtime} {verb}: {first.message}"
    return End(state=state, code=first.code, message=message, result=result)


def summary(standing: Standing) -> dict[str, Any]:
    """Give a job's result.

    That is `variants` that were made, `refused` with why, the `closest` where all were refused, and
    `latency_measured_here`: the runtimes for which no device of the budget's selector has a profile.
    """
    trials = list(standing.tried.values())
    made = [tried for tried in trials if tried.state is TrialState.SUCCEEDED]
    refused = [tried for tried in trials if tried.state in (TrialState.REFUSED, TrialState.FAILED)]
    result: dict[str, Any] = {
        "variants": [{"recipe": one.recipe, "runtime": one.runtime, **_shown(one)} for one in made],
        "refused": [
            {"recipe": one.recipe, "runtime": one.runtime, "code": one.code, "message": one.message, **_shown(one)}
            for one in refused
        ],
    }
    measured = [one for one in refused if "accuracy" in one.figures]
    if standing.measured_here:
        result["latency_measured_here"] = list(standing.measured_here)
    if standing.budget is not None and measured and not made:
        best = closest(standing.budget, [(one.runtime, one.figures) for one in measured])
        if best is not None:
            one = measured[best]
            result["closest"] = {
                "recipe": one.recipe,
                "runtime": one.runtime,
                **_shown(one),
                "over": standing.budget.excess(one.runtime, one.figures),
            }
    return result


def _follower(tried: Tried, standing: Standing) -> Pipeline | None:
    """Give what is tried after a static quantization lost too much: train for it, then leave layers in float."""
    if tried.state is not TrialState.REFUSED or tried.code != "accuracy.over_budget":
        return None
    last = tried.steps[-1] if tried.steps else {"op": ""}
    if last["op"] != "quantize" or last["mode"] != "static" or last["float_layers"]:
        return None
    base = tried.recipe.removesuffix("-aware")
    before = tried.steps[:-1]
    if last["aware"] is None and standing.has_training and standing.format == "program":
        follower = Pipeline(f"{base}-aware", (*before, {**last, "aware": dict(AWARE)}), (tried.runtime,))
    else:
        follower = Pipeline(f"{base}-mixed", (*before, {**last, "float_layers": _FLOAT_LAYERS}), (tried.runtime,))
    try:
        check_runtime(follower.name, follower.steps, tried.runtime, standing.format)
    except Invalid:
        return None
    return follower


def _all_pipelines(standing: Standing) -> list[Pipeline]:
    followers = (_follower(tried, standing) for tried in standing.tried.values())
    return [*standing.wanted, *(one for one in followers if one is not None)]


def _line(name: str, runtime: str) -> list[str]:
    return [trial_key(one, runtime) for one in (name, f"{name}-aware", f"{name}-mixed")]


def group_of(one: Pipeline, runtime: str) -> str:
    """Name what a pipeline on a runtime shares work with: the trained network, or the interpreter."""
    trained = program_steps(one.steps)
    if trained:
        return f"trained {digest(trained)}"
    if is_by_nncf(one.steps):
        return "nncf"
    return "here" if runtime in _HERE else runtime


def _unit(key: str, pipelines: Sequence[Pipeline], whole: float) -> Unit:
    told = [
        {"name": one.name, "steps": [dict(step) for step in one.steps], "runtimes": list(one.runtimes)}
        for one in pipelines
    ]
    return Unit(key=key, spec={"unit": key, "pipelines": told}, share=weight_of(pipelines) / whole)


def _shown(one: Tried) -> dict[str, Any]:
    names = ("accuracy", "agreement", "size_bytes", "latency_p50_ms")
    return {"precision": precision(one.steps), **{name: one.figures[name] for name in names if name in one.figures}}
