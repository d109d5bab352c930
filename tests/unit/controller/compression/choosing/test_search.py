"""A search tries what is cheap, trains what may add to the front, gives up the rest; in a made world of figures."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from controller.compression.choosing import search
from controller.compression.choosing.budget import Budget
from controller.compression.choosing.candidates import Trials
from controller.compression.choosing.expecting import share
from controller.compression.choosing.pareto import hypervolume
from controller.compression.choosing.planning import Tried
from controller.compression.choosing.recipe import Given as Known
from controller.compression.choosing.recipe import Pipeline, plan, program_steps
from controller.compression.choosing.search import Searching
from controller.compression.choosing.space import space
from controller.jobs.states import TrialState

SCORE = 0.97
BUDGET = Budget(min_accuracy=SCORE - 0.02, latency_factors={})
RUNTIMES = ("onnxruntime", "openvino")
SPACE = space(RUNTIMES, "program", has_training=True)
BY_NAME = {one.name: one for one in SPACE}
WORK = {one.pipelines[0].name: one.work for one in Trials(SPACE, {}).candidates(()).values()}


def world(name: str, runtime: str, hardness: float) -> dict[str, Any]:
    """What a recipe gives: smaller is faster and worse, and int8 is a quarter.

    Args:
        hardness: What is lost where next to nothing is left.
    """
    kept = share(BY_NAME[name].steps)
    is_small = "int8" in name or "binary" in name
    size = 1000 * kept * (0.25 if is_small else 0.5 if name == "fp16" else 1.0) * (0.2 if "binary" in name else 1.0)
    latency = 0.1 * kept**0.4 * (0.6 if "int8" in name else 1.0) * (1.3 if runtime == "openvino" else 1.0)
    lost = hardness * (1 - kept) ** 3 + (0.004 if is_small else 0.0) + (0.01 if "binary" in name else 0.0)
    return {"size_bytes": size, "latency_p50_ms": latency, "accuracy": SCORE - lost, "agreement": 1.0, "samples": 1000}


def trial(one: Pipeline, runtime: str, hardness: float, budget: Budget = BUDGET) -> Tried:
    figures = world(one.name, runtime, hardness)
    state = TrialState.SUCCEEDED if budget.refusal(runtime, figures) is None else TrialState.REFUSED
    return Tried(recipe=one.name, runtime=runtime, steps=one.steps, state=state, figures=figures)


def failed(one: Pipeline, runtime: str) -> Tried:
    return Tried(recipe=one.name, runtime=runtime, steps=one.steps, state=TrialState.REFUSED, code="distill.no_gain")


@dataclass
class Searched:
    """How a search went: what was tried, which networks were trained, the order of units, and why the rest was left."""

    tried: dict[str, Tried] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)


def searched(
    hardness: float = 0.02,
    *,
    max_trials: int = 500,
    budget: Budget = BUDGET,
    fails: Callable[[Pipeline], bool] = lambda _: False,
) -> Searched:
    """Search the made world to its end, with one worker."""
    found = Searched()
    for _ in range(100):
        is_known = bool(found.tried)
        choice = search.choose(
            Searching(
                space=SPACE,
                tried=found.tried,
                max_trials=max_trials,
                budget=budget if is_known else None,
                score=SCORE if is_known else 0.0,
            )
        )
        for one, why in choice.stopped:
            found.reasons.add(why)
            for runtime in one.runtimes:
                found.tried[f"{one.name}/{runtime}"] = Tried(
                    recipe=one.name, runtime=runtime, steps=one.steps, state=TrialState.STOPPED
                )
        if not choice.units:
            return found
        unit = choice.units[0]
        found.order.append(unit.key)
        if unit.key.startswith("trained"):
            found.trained.append(unit.spec["pipelines"][0]["name"])
        for told in unit.spec["pipelines"]:
            one = BY_NAME[told["name"]]
            for runtime in told["runtimes"]:
                made = failed(one, runtime) if fails(one) else trial(one, runtime, hardness, budget)
                found.tried[f"{one.name}/{runtime}"] = made
    raise AssertionError("the search does not end")


def volume(trials: dict[str, Tried], hardness: float) -> float:
    grid = {f"{one.name}/{runtime}": trial(one, runtime, hardness) for one in SPACE for runtime in one.runtimes}
    reference = search.corner(grid, BUDGET, SCORE)
    found, there = (hypervolume(search.points(some, BUDGET, SCORE), reference) for some in (trials, grid))
    return found / there


def test_space_when_made_then_all_of_it_is_valid() -> None:
    known = Known(has_training=True, named={})
    assert len(plan([(one.name, one.steps, one.runtimes) for one in SPACE], known)) == len(SPACE)
    assert len(WORK) >= 8


@pytest.mark.parametrize(("format", "has_training"), [("onnx", True), ("program", False)])
def test_space_when_nothing_can_be_trained_then_trains_nothing(format: str, has_training: bool) -> None:
    found = space(RUNTIMES, format, has_training=has_training)
    assert [one.name for one in found if program_steps(one.steps)] == []
    assert {"fp32", "int8", "int8-dynamic"} <= {one.name for one in found}


@pytest.mark.parametrize("hardness", [0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.5])
def test_search_when_it_ends_then_has_most_of_the_grid_for_a_part_of_its_training(hardness: float) -> None:
    found = searched(hardness)
    assert set(found.tried) == {f"{one.name}/{runtime}" for one in SPACE for runtime in one.runtimes}
    assert volume(found.tried, hardness) >= 0.95
    assert sum(WORK[name] for name in found.trained) <= 0.55 * sum(WORK.values())
    assert found.order[0] == "here"
    assert found.reasons == {"It is not expected to add to the front."}


def test_search_when_small_networks_lose_too_much_then_goes_on_with_larger_ones() -> None:
    assert searched(0.0).trained[0] == searched(0.1).trained[0] == "prune15"
    kept = [share(BY_NAME[name].steps) for name in searched(0.1).trained]
    assert kept[1] > kept[0]


def test_search_when_run_again_then_does_the_same() -> None:
    assert searched() == searched()


def test_search_when_its_trials_are_used_up_then_stops_the_rest() -> None:
    found = searched(max_trials=4)
    assert found.trained == []
    assert found.reasons == {"The trials are used up."}
    assert {one.recipe for one in found.tried.values() if one.state is not TrialState.STOPPED} == {
        one.name for one in SPACE[:4]
    }


def test_search_when_what_begins_alike_cannot_be_made_then_does_not_try_all_of_it() -> None:
    found = searched(fails=lambda one: "distill" in one.name)
    assert sum("distill" in name for name in found.trained) <= 2
    assert any("prune" in name for name in found.trained)


def test_search_when_a_budget_is_met_by_nothing_yet_then_goes_on_while_something_may_meet_it() -> None:
    budget = Budget(min_accuracy=SCORE - 0.02, max_size_bytes=40, latency_factors={})
    found = searched(0.01, budget=budget)
    assert {one.recipe for one in found.tried.values() if one.state is TrialState.SUCCEEDED} >= {"prune15-int8"}
    assert "prune80" not in found.trained


def test_search_when_workers_are_free_then_gives_them_other_networks() -> None:
    light = {
        f"{one.name}/{of}": trial(one, of, 0.0) for one in SPACE if not program_steps(one.steps) for of in RUNTIMES
    }
    light = {key: one for key, one in light.items() if one.runtime in BY_NAME[one.recipe].runtimes}
    asked = Searching(space=SPACE, tried=light, max_trials=500, budget=BUDGET, score=SCORE)
    first, *others = [unit.key for unit in search.choose(asked).units]
    assert others
    beside = search.choose(replace(asked, running=frozenset({first})))
    assert [unit.key for unit in beside.units] == [first, *others]


def test_corner_when_a_variant_is_better_than_the_version_then_that_is_no_gain() -> None:
    figures = {"size_bytes": 10.0, "latency_p50_ms": 1.0, "accuracy": 0.99}
    better = Tried(recipe="a", runtime="onnxruntime", steps=(), state=TrialState.SUCCEEDED, figures=figures)
    assert search.points({"a/onnxruntime": better}, BUDGET, SCORE) == [(10.0, 1.0, 0.0)]
