"""A search tries what is cheap first, probes what trains, and gives up what cannot win; on a made world of figures."""

from typing import Any

import pytest

from controller.compression.choosing import search
from controller.compression.choosing.budget import Budget
from controller.compression.choosing.pareto import hypervolume
from controller.compression.choosing.planning import Tried
from controller.compression.choosing.recipe import Given as Known
from controller.compression.choosing.recipe import Pipeline, plan, program_steps
from controller.compression.choosing.search import Searching
from controller.jobs.states import TrialState

SCORE = 0.97
BUDGET = Budget(min_accuracy=SCORE - 0.02, latency_factors={})
RUNTIMES = ("onnxruntime", "openvino")
SPACE = search.space(RUNTIMES, "program", has_training=True)


def world(name: str, runtime: str, *, is_probe: bool = False) -> dict[str, Any]:
    """What a recipe gives: smaller is faster and worse, int8 is a quarter, and a probe is not as good yet."""
    share = 1.0
    for part, of in (("prune75", 0.75), ("prune50", 0.5), ("prune25", 0.25), ("distill50", 0.3), ("distill25", 0.08)):
        share *= of if part in name else 1.0
    is_small = "int8" in name or "binary" in name
    size = 1000 * share * (0.25 if is_small else 0.5 if name == "fp16" else 1.0) * (0.2 if "binary" in name else 1.0)
    latency = 0.1 * share**0.5 * (0.6 if "int8" in name else 1.0) * (1.3 if runtime == "openvino" else 1.0)
    lost = 0.05 * (1 - share) ** 3 + (0.004 if is_small else 0.0) + (0.03 if "binary" in name else 0.0)
    lost += 0.03 if is_probe else 0.0
    return {"size_bytes": size, "latency_p50_ms": latency, "accuracy": SCORE - lost, "agreement": 1.0, "samples": 100}


def trial(one: Pipeline, runtime: str) -> Tried:
    figures = world(one.name, runtime)
    refusal = BUDGET.refusal(runtime, figures)
    state = TrialState.SUCCEEDED if refusal is None else TrialState.REFUSED
    return Tried(recipe=one.name, runtime=runtime, steps=one.steps, state=state, figures=figures)


def searched(max_trials: int = 500) -> tuple[dict[str, Tried], set[str], list[str]]:
    """Search the made world; gives what was tried, which networks were trained to the end, and the order of units."""
    tried: dict[str, Tried] = {}
    probes: dict[str, Any] = {}
    trained: set[str] = set()
    order: list[str] = []
    by_name = {one.name: one for one in SPACE}
    for _ in range(100):
        known = bool(tried)
        searching = Searching(
            space=SPACE,
            tried=tried,
            probes=probes,
            max_trials=max_trials,
            budget=BUDGET if known else None,
            score=SCORE if known else 0.0,
        )
        choice = search.choose(searching)
        for one, _ in choice.stopped:
            for runtime in one.runtimes:
                tried[f"{one.name}/{runtime}"] = Tried(
                    recipe=one.name, runtime=runtime, steps=one.steps, state=TrialState.STOPPED
                )
        if not choice.units:
            break
        unit = choice.units[0]
        order.append(unit.key)
        pairs = [(one["name"], runtime) for one in unit.spec["pipelines"] for runtime in one["runtimes"]]
        if unit.key.startswith("probe "):
            probes[unit.key] = {f"{name}/{runtime}": world(name, runtime, is_probe=True) for name, runtime in pairs}
            continue
        trained |= {unit.key} if unit.key.startswith("trained") else set()
        tried |= {f"{name}/{runtime}": trial(by_name[name], runtime) for name, runtime in pairs}
    return tried, trained, order


def networks() -> set[str]:
    return {search.group_of(one, one.runtimes[0]) for one in SPACE if program_steps(one.steps)}


def volume(trials: dict[str, Tried]) -> float:
    grid = {f"{one.name}/{runtime}": trial(one, runtime) for one in SPACE for runtime in one.runtimes}
    corner = search.corner([(one.runtime, one.figures) for one in grid.values()], BUDGET)
    return hypervolume(search.points(trials, BUDGET), corner) / hypervolume(search.points(grid, BUDGET), corner)


def test_space_when_made_then_all_of_it_is_valid() -> None:
    known = Known(has_training=True, named={})
    assert len(plan([(one.name, one.steps, one.runtimes) for one in SPACE], known)) == len(SPACE)
    assert len(networks()) >= 8


@pytest.mark.parametrize(("format", "has_training"), [("onnx", True), ("program", False)])
def test_space_when_nothing_can_be_trained_then_trains_nothing(format: str, has_training: bool) -> None:
    found = search.space(RUNTIMES, format, has_training=has_training)
    assert [one.name for one in found if program_steps(one.steps)] == []
    assert {"fp32", "int8", "int8-dynamic"} <= {one.name for one in found}


def test_search_when_it_ends_then_has_most_of_the_grid_for_a_part_of_its_training() -> None:
    tried, trained, order = searched()
    assert set(tried) == {f"{one.name}/{runtime}" for one in SPACE for runtime in one.runtimes}
    assert volume(tried) >= 0.95
    assert len(trained) < len(networks())
    assert order[0] == "here"
    assert sum(key.startswith("probe ") for key in order) == len(networks())


def test_search_when_run_again_then_does_the_same() -> None:
    assert searched()[2] == searched()[2]


def test_search_when_its_trials_are_used_up_then_stops_the_rest() -> None:
    tried, trained, _ = searched(max_trials=4)
    assert trained == set()
    assert {one.recipe for one in tried.values() if one.state is not TrialState.STOPPED} == {
        one.name for one in SPACE[:4]
    }


def test_probe_when_made_of_a_recipe_then_trains_a_fraction_and_tries_one_of_each() -> None:
    steps = [
        {"op": "distill", "temperatures": [2.0, 4.0], "weights": [0.5, 0.9], "training": {"epochs": 16}},
        {"op": "quantize", "aware": None},
    ]
    assert search.probe_steps(steps) == [
        {"op": "distill", "temperatures": [2.0], "weights": [0.5], "training": {"epochs": 2}},
        {"op": "quantize", "aware": None},
    ]
