"""Which recipes go together, what follows one that was not good enough, and how a compression ends."""

from typing import Any

import pytest

from controller.compression.choosing import planning
from controller.compression.choosing.budget import Budget
from controller.compression.choosing.planning import Standing, Tried
from controller.compression.choosing.recipe import PRESETS, Pipeline, digest
from controller.jobs.states import JobState, TrialState
from controller.jobs.units import End

STATIC = PRESETS["int8"][0]
PRUNE: dict[str, Any] = {"op": "prune", "keep": 0.5}
INT8 = Pipeline("int8", (STATIC,), ("onnxruntime",))
FP32 = Pipeline("fp32", (), ("onnxruntime",))
BUDGET = Budget(min_accuracy=0.9, latency_factors={})


def standing(*wanted: Pipeline, **changes: Any) -> Standing:
    made = {"format": "program", "tried": {}, "has_reference": True, "has_training": True, "budget": BUDGET}
    return Standing(wanted=wanted, **{**made, **changes})


def tried(one: Pipeline, state: TrialState, code: str = "", accuracy: float = 0.95) -> dict[str, Tried]:
    figures = {"accuracy": accuracy, "size_bytes": 10, "latency_p50_ms": 0.1, "agreement": 1.0}
    return {
        f"{one.name}/{runtime}": Tried(
            recipe=one.name, runtime=runtime, steps=one.steps, state=state, code=code, message="so", figures=figures
        )
        for runtime in one.runtimes
    }


def over(one: Pipeline) -> dict[str, Tried]:
    return tried(one, TrialState.REFUSED, "accuracy.over_budget", 0.5)


def names(units: Any) -> dict[str, list[str]]:
    return {unit.key.partition(" ")[0]: [one["name"] for one in unit.spec["pipelines"]] for unit in units}


def test_units_when_planned_then_share_an_interpreter_or_a_trained_network() -> None:
    pruned = Pipeline("half", (PRUNE,), ("onnxruntime", "litert"))
    small = Pipeline("half-int8", (PRUNE, STATIC), ("onnxruntime",))
    everywhere = Pipeline("int8", (STATIC,), ("onnxruntime", "openvino", "litert"))
    units = planning.next_units(standing(FP32, everywhere, pruned, small))
    assert names(units) == {"here": ["fp32", "int8"], "litert": ["int8"], "trained": ["half", "half-int8"]}
    assert sum(unit.share for unit in units) == pytest.approx(1.0)


def test_units_when_they_begin_alike_then_one_trains_what_both_need_and_the_other_waits() -> None:
    half = Pipeline("half", (PRUNE,), ("onnxruntime",))
    binary = Pipeline("half-binary", (PRUNE, {"op": "binarize"}), ("onnxruntime",))
    student = Pipeline("student", ({"op": "distill"},), ("onnxruntime",))
    keys = {one.name: planning.group_of(one, "onnxruntime") for one in (half, binary, student)}

    def planned(**changes: Any) -> set[str]:
        return {unit.key for unit in planning.next_units(standing(half, binary, student, **changes))}

    for running in (keys["half"], keys["half-binary"]):
        assert planned(running=frozenset({running})) == {running, keys["student"]}
    assert len(planned()) == 2
    assert planned(networks=frozenset({digest([PRUNE])})) == {*keys.values()}


def test_units_when_nncf_quantizes_then_are_apart_from_those_that_need_no_toolchain() -> None:
    nncf = Pipeline("int8-nncf", PRESETS["int8-nncf"], ("openvino",))
    assert names(planning.next_units(standing(INT8, nncf))) == {"here": ["int8"], "nncf": ["int8-nncf"]}


def test_units_when_the_versions_own_answers_are_not_known_then_one_finds_them_first() -> None:
    everywhere = Pipeline("int8", (STATIC,), ("openvino", "litert"))
    assert names(planning.next_units(standing(everywhere, has_reference=False))) == {"here": ["int8"]}


def test_units_when_trials_have_ended_then_are_about_the_others() -> None:
    now = standing(FP32, INT8, tried=tried(FP32, TrialState.SUCCEEDED))
    assert names(planning.next_units(now)) == {"here": ["int8"]}
    assert planning.done_share(now) == pytest.approx(0.5)


def test_static_when_it_loses_too_much_then_is_trained_for_and_then_mixed() -> None:
    first = standing(INT8, tried=over(INT8))
    (aware,) = planning.open_pipelines(first)
    assert (aware.name, aware.steps[0]["aware"]["epochs"]) == ("int8-aware", 4)
    second = standing(INT8, tried={**over(INT8), **over(aware)})
    (mixed,) = planning.open_pipelines(second)
    assert (mixed.name, mixed.steps[0]["float_layers"] > 0) == ("int8-mixed", True)
    assert mixed.steps[0]["aware"] == aware.steps[0]["aware"]
    assert planning.group_of(mixed, "onnxruntime") == planning.group_of(aware, "onnxruntime")  # trained once
    third = standing(INT8, tried={**over(INT8), **over(aware), **over(mixed)})
    assert planning.next_units(third) == []
    assert planning.ending(third).state is JobState.REFUSED


@pytest.mark.parametrize(
    "changes", [{"has_training": False}, {"format": "onnx"}], ids=["no training set", "no network"]
)
def test_static_when_nothing_can_be_trained_then_is_mixed_at_once(changes: dict[str, Any]) -> None:
    (follower,) = planning.open_pipelines(standing(INT8, tried=over(INT8), **changes))
    assert (follower.name, follower.steps[0]["aware"]) == ("int8-mixed", None)


def test_static_when_it_is_too_large_then_nothing_follows() -> None:
    now = standing(INT8, tried=tried(INT8, TrialState.REFUSED, "size.over_budget"))
    assert planning.next_units(now) == []


def test_ending_when_what_followed_is_inside_then_succeeds() -> None:
    (aware,) = planning.open_pipelines(standing(INT8, tried=over(INT8)))
    end = planning.ending(standing(INT8, tried={**over(INT8), **tried(aware, TrialState.SUCCEEDED)}))
    assert (end.state, end.code) == (JobState.SUCCEEDED, "")
    assert [one["recipe"] for one in end.result["variants"]] == ["int8-aware"]
    assert [one["code"] for one in end.result["refused"]] == ["accuracy.over_budget"]


def test_ending_when_all_are_over_then_refuses_with_the_closest() -> None:
    size = Pipeline("half", (PRUNE,), ("onnxruntime",))
    trials = {**over(FP32), **tried(size, TrialState.REFUSED, "accuracy.over_budget", 0.88)}
    end = planning.ending(standing(FP32, size, tried=trials))
    assert (end.state, end.code) == (JobState.REFUSED, "accuracy.over_budget")
    assert (end.result["closest"]["recipe"], end.result["closest"]["accuracy"]) == ("half", 0.88)


def test_summary_when_no_device_was_measured_then_says_whose_latency_is_the_one_here() -> None:
    now = standing(FP32, tried=tried(FP32, TrialState.SUCCEEDED), measured_here=["onnxruntime"])
    assert planning.ending(now).result["latency_measured_here"] == ["onnxruntime"]
    assert "latency_measured_here" not in planning.ending(standing(FP32, tried=now.tried)).result


def test_ending_when_one_broke_then_fails_by_its_name_and_keeps_what_was_made() -> None:
    trials = {**tried(FP32, TrialState.SUCCEEDED), **tried(INT8, TrialState.FAILED, "golden.failed")}
    end = planning.ending(standing(FP32, INT8, tried=trials))
    assert (end.state, end.code, len(end.result["variants"])) == (JobState.FAILED, "golden.failed", 1)


def test_ending_when_the_version_cannot_be_made_then_is_that() -> None:
    broken = End(state=JobState.FAILED, code="program.not_loadable", message="so")
    now = standing(FP32, broken=broken, has_reference=False)
    assert (planning.next_units(now), planning.ending(now)) == ([], broken)
