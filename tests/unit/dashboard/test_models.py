"""The pages of models: what they say of variants, trials, lineages, jobs, demand, boards."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard import recipes
from dashboard.components import table
from dashboard.components.graph import Thing, columns_of, graph_chart
from dashboard.components.trade_off import (
    Candidate,
    front_of,
    pareto_chart,
    ranking_chart,
    sensitivity_bars,
    sensitivity_of,
)
from dashboard.pages.boards import advice_row, figure_rows
from dashboard.pages.compression import READY_MADE, own_steps
from dashboard.pages.explain import candidate_row
from dashboard.pages.job import closest_words, job_facts, log_line, progress_words, trial_row
from dashboard.pages.lineage import Edges, node_address, node_row, node_title, thing
from dashboard.pages.model import model_facts
from dashboard.pages.model_fleet import demand_words, need_row, policy_facts
from dashboard.pages.model_form import TASKS, parsed
from dashboard.pages.profiles import profile_row
from dashboard.pages.variants import variant_row
from dashboard.pages.version_upload import FORMATS
from dashboard.pages.versions import version_row
from dashboard.wording import Unreadable
from shoal.schemas.artifacts import LineageEdge, LineageNode, Model, Variant, Version, VersionRequest
from shoal.schemas.jobs import Job, JobLine, Trial
from shoal.schemas.profiles import Advice, Board, BuildPolicy, Demand, Need, Profile
from shoal.schemas.profiles import Candidate as Explained
from shoal.schemas.recipes import Budget, Recipe
from shoal.wire.models import Task

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
JOB_ID = "0199f3c2-1111-7222-8333-0123456789ab"
LAYERS = [
    {"layer": "stem", "kind": "Conv", "drop": 0.002, "noise": 0.4, "weight_bytes": 1024},
    {"layer": "head", "kind": "MatMul", "drop": 0.031, "noise": 0.2, "weight_bytes": 4096},
]


def variant(**told: Any) -> Variant:
    plain: dict[str, Any] = {
        "id": "v",
        "model": "digits",
        "version": 1,
        "recipe": "int8",
        "runtime": "onnxruntime",
        "sha256": "0" * 64,
        "golden_sha256": "0" * 64,
        "size_bytes": 2048,
        "format": "onnx",
        "accuracy": 0.98,
        "agreement": 0.99,
        "latency_p50_ms": 0.05,
        "samples": 360,
        "figures": {},
        "recipe_steps": [],
        "lineage": {},
        "created_at": NOW,
    }
    return Variant(**{**plain, **told})


def trial(**told: Any) -> Trial:
    plain: dict[str, Any] = {
        "id": "t",
        "recipe": "int8",
        "steps": [],
        "runtime": "litert",
        "state": "succeeded",
        "code": "",
        "message": "",
        "figures": {"size_bytes": 2048, "accuracy": 0.98, "latency_p50_ms": 0.05},
        "is_on_front": True,
        "variant_id": None,
        "created_at": NOW,
    }
    return Trial(**{**plain, **told})


def job(**told: Any) -> Job:
    plain: dict[str, Any] = {
        "id": JOB_ID,
        "kind": "compress",
        "state": "running",
        "subject": "digits/2",
        "progress": 0.5,
        "message": "Trying int8.",
        "code": "",
        "result": {},
        "attempt": 1,
        "created_by": "admin",
        "created_at": NOW,
        "started_at": NOW - timedelta(seconds=90),
        "finished_at": None,
    }
    return Job(**{**plain, **told})


def version(**told: Any) -> Version:
    plain: dict[str, Any] = {
        "id": "1",
        "model": "digits",
        "number": 1,
        "source": "uploaded",
        "format": "onnx",
        "state": "ready",
        "code": "",
        "message": "",
        "inspection": {},
        "train_program": None,
        "eval_program": None,
        "weights": None,
        "file": "a" * 64,
        "parent": None,
        "lineage": {},
        "evaluations": [],
        "variants": 0,
        "created_at": NOW,
        "created_by": "admin",
    }
    return Version(**{**plain, **told})


def node(node_id: str, **told: Any) -> LineageNode:
    plain = {"kind": node_id.partition(":")[0], "title": node_id.replace(":", " "), "figures": {}}
    return LineageNode(**{"id": node_id, "created_at": None, "created_by": "", **plain, **told})


def candidate(name: str, size: int, score: float, *, is_on_front: bool) -> Candidate:
    return Candidate(
        name=name, group="g", size_bytes=size, score=score, latency_ms=1.0, told=name, is_on_front=is_on_front
    )


def test_front_when_two_are_alike_then_both_are_on_it_and_what_is_beaten_in_all_is_not() -> None:
    assert front_of([(1, 1, 0.9), (1, 1, 0.9), (2, 1, 0.9), (1, 2, 0.95)]) == [True, True, False, True]


def test_variants_when_drawn_then_the_pointer_is_told_recipe_and_figures_and_the_front_has_a_ring() -> None:
    small = variant(recipe_steps=[{"op": "quantize", "mode": "static", "calibration": "entropy"}])
    large = variant(recipe="fp32", size_bytes=8192, latency_p50_ms=0.1)
    scatter, line = pareto_chart(recipes.of_variants([large, small]))["series"]
    by_name = {point["name"]: point for point in scatter["data"]}
    assert by_name["int8"]["told"].splitlines() == [
        "int8 for ONNX Runtime",
        "static int8 (entropy)",
        "2.0 KiB, 98.00%, 0.050 ms",
        "on the front: nothing is better in all",
    ]
    assert "itemStyle" in by_name["int8"]
    assert "itemStyle" not in by_name["fp32"]
    assert by_name["fp32"]["symbolSize"] > by_name["int8"]["symbolSize"]
    assert line["data"] == [[2.0, 0.98]]


def test_front_when_drawn_then_its_line_only_climbs() -> None:
    found = [
        candidate(str(size), size * 1024, score, is_on_front=True) for size, score in ((3, 0.9), (1, 0.8), (2, 0.7))
    ]
    assert pareto_chart(found)["series"][-1]["data"] == [[1.0, 0.8], [3.0, 0.9]]


@pytest.mark.parametrize(("largest", "kind"), [(10, "value"), (100, "log")])
def test_sizes_when_far_apart_then_stand_on_a_logarithmic_axis(largest: int, kind: str) -> None:
    found = [candidate("a", 1024, 0.5, is_on_front=True), candidate("b", largest * 1024, 0.6, is_on_front=True)]
    assert pareto_chart(found)["xAxis"]["type"] == kind


def test_chart_when_there_is_nothing_then_it_can_be_drawn_all_the_same() -> None:
    assert [len(series["data"]) for series in pareto_chart([])["series"]] == [0]
    assert ranking_chart([], unit="%")["yAxis"]["data"] == []


@pytest.mark.parametrize(
    "figures", [{"sensitivity": LAYERS}, {"quantize": {"sensitivity": LAYERS}}, {"sensitivity": {"layers": LAYERS}}]
)
def test_sensitivity_when_measured_then_is_found_where_it_stands(figures: dict[str, Any]) -> None:
    bars, unit = sensitivity_bars(sensitivity_of(figures))
    assert [name for name, _, _ in bars] == ["head", "stem"]
    assert unit == "%"
    assert "costs 3.10 points alone in int8" in bars[0][2]


@pytest.mark.parametrize("figures", [{}, {"sensitivity": "high"}, {"sensitivity": [1, {"kind": "Conv"}]}])
def test_sensitivity_when_it_is_not_what_it_should_be_then_is_left_out(figures: dict[str, Any]) -> None:
    assert sensitivity_of(figures) == []


def test_sensitivity_when_no_score_was_measured_then_layers_stand_by_their_noise() -> None:
    bars, unit = sensitivity_bars([{**layer, "drop": None} for layer in LAYERS])
    assert ([name for name, _, _ in bars], unit) == (["stem", "head"], "noise")


def test_variant_when_shown_then_its_row_has_the_recipe_in_words_and_both_latencies() -> None:
    row = variant_row(variant(figures={"latency_p95_ms": 0.07}), True, NOW)
    assert row["recipe"] == table.noted("int8", "static int8, calibrated")
    assert (row["p50"], row["p95"], row["front"]) == ("0.050 ms", "0.070 ms", "on it")
    assert variant_row(variant(), False, NOW)["p95"] == "–"


def test_trials_when_not_measured_then_are_in_the_table_and_not_in_the_chart() -> None:
    stopped = trial(state="stopped", code="trial.stopped", message="It cannot win.", figures={})
    assert len(recipes.of_trials([stopped, trial()])) == 1
    row = trial_row(stopped)
    assert row["state"]["note"] == "It cannot win. [trial.stopped]"
    assert (row["accuracy"], row["size"]) == ("–", "–")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"remaining_s": 95.0}, "50% after 1 min 30 s, about 1 min left. Trying int8."),
        ({}, "50% after 1 min 30 s, nobody can tell yet for how long. Trying int8."),
        ({"state": "queued"}, "It waits for its turn."),
        ({"state": "succeeded", "finished_at": NOW}, "It ended after 1 min 30 s."),
        ({"state": "canceled", "started_at": None}, "It ended."),
    ],
)
def test_job_when_shown_then_says_how_far_it_is_and_how_long_it_takes(told: dict[str, Any], words: str) -> None:
    assert progress_words(job(**told), NOW) == words


def test_job_when_refused_then_says_what_came_closest() -> None:
    closest = {"recipe": "int8", "runtime": "litert", "accuracy": 0.91, "over": {"accuracy": 0.02, "size": -0.5}}
    facts = dict(job_facts(job(state="refused", result={"variants": [], "closest": closest}), NOW))
    assert facts["The closest"] == "int8 for LiteRT: accuracy 91.0%; over the budget: accuracy by 2.0%"
    assert facts["Made"] == "0 variants"
    assert closest_words({"recipe": "int8", "runtime": "litert", "over": "much"}) == "int8 for LiteRT: "


def test_log_when_shown_then_warnings_say_so_in_words() -> None:
    line = JobLine(number=1, at=NOW, level="warning", text="The range is wide.")
    assert log_line(line) == "12:00:00 WARNING The range is wide."
    assert log_line(line.model_copy(update={"level": "info"})) == "12:00:00 The range is wide."


def test_version_when_refused_then_says_why_and_can_be_looked_at_again() -> None:
    row = version_row(version(state="refused", code="model.bad_file", message="It is cut off."), True, NOW)
    assert row["state"]["note"] == "It is cut off. [model.bad_file]"
    assert [one["text"] for one in row["act"]["actions"]] == ["Look again", "Delete"]
    assert row["act"]["of"] == "digits/1"
    assert [one["text"] for one in version_row(version(), True, NOW)["act"]["actions"]] == ["Delete"]


@pytest.mark.parametrize("chosen", list(FORMATS))
def test_format_when_offered_then_is_one_that_the_api_takes(chosen: Any) -> None:
    digest = "0" * 64
    parts = {"eval_program": digest, "weights": digest} if chosen == "program" else {"file": digest}
    assert VersionRequest(format=chosen, **parts).format == chosen


def test_graph_when_laid_out_then_everything_stands_right_of_what_it_is_made_of() -> None:
    edges = [("v1", "v2"), ("v2", "v3"), ("v1", "a"), ("v3", "b"), ("data", "b"), ("data", "a")]
    columns = columns_of(["v1", "a", "v2", "v3", "b", "data"], edges)
    column_of = {name: place for place, column in enumerate(columns) for name in column}
    assert all(column_of[source] < column_of[target] for source, target in edges)
    assert sorted(column_of) == ["a", "b", "data", "v1", "v2", "v3"]


def test_graph_when_it_has_a_circle_or_unknown_ends_then_is_laid_out_all_the_same() -> None:
    columns = columns_of(["a", "b"], [("a", "b"), ("b", "a"), ("nobody", "a"), ("a", "a")])
    assert sorted(name for column in columns for name in column) == ["a", "b"]
    assert columns_of([], []) == []


def test_graph_when_drawn_then_has_a_place_and_words_for_each_node() -> None:
    things = [Thing(id="version:1", kind="version", title="version 1", told="version 1\naccuracy 99.1%")]
    options, width, height = graph_chart(things, [])
    (series,) = options["series"]
    assert series["data"][0]["told"].endswith("99.1%")
    assert width > 0
    assert height > 0


@pytest.mark.parametrize(
    ("node_id", "address"),
    [
        ("version:3", "/models/digits?version=3"),
        ("dataset:heldout", "/datasets"),
        ("run:r-1", "/federated-runs/r-1"),
        ("job:j-1", "/jobs/j-1"),
        ("device:d-a", "/devices/d-a"),
        ("variant:v-1", ""),
        ("local-dataset:theirs", ""),
    ],
)
def test_lineage_when_something_is_chosen_then_leads_to_its_page(node_id: str, address: str) -> None:
    assert node_address("digits", node_id) == address


def test_lineage_when_a_node_is_shown_then_says_what_it_is_made_of_by_whom_and_its_figures() -> None:
    made = node(f"job:{JOB_ID}")
    shown = node("variant:v", title="int8 for litert", figures={"accuracy": 0.98, "size_bytes": 2048}, created_at=NOW)
    edges = Edges.of([LineageEdge(source=made.id, target=shown.id, role="made")])
    row = node_row("digits", shown, edges, {made.id: node_title(made)}, NOW)
    assert row["of"] == "job …456789ab (made)"
    assert row["figures"] == "accuracy 98.0%, size 2.0 KiB"
    told = thing(shown.model_copy(update={"created_by": "ann"})).told
    assert told.splitlines()[-1] == "made 2026-01-02 12:00 UTC by ann"


def test_recipes_when_ready_made_then_are_such_as_the_api_takes() -> None:
    for name, _, steps in READY_MADE:
        assert Recipe.model_validate({"name": name, "steps": steps, "runtimes": ["onnxruntime"]}).name == name


@pytest.mark.parametrize("last", ["static", "aware", "dynamic", "fp16", "binarize", "no"])
def test_recipe_of_ones_own_when_made_then_is_such_as_the_api_takes(last: str) -> None:
    steps = own_steps(width=0.5, keep=0.25, target="size", last=last, calibration="entropy", float_layers=2)
    made = Recipe.model_validate({"name": "own", "steps": steps, "runtimes": ["litert"]})
    assert [step.op for step in made.steps or []][:2] == ["distill", "prune"]
    assert recipes.recipe("own", steps).startswith("distill into a student of width 0.5, then prune channels to 25%")


def test_model_when_its_signature_is_not_known_yet_then_says_so() -> None:
    shown = Model(
        name="m",
        task="detection",
        signature=None,
        preprocessing=[{"op": "scale", "factor": 0.5, "offset": 1}, {"op": "layout", "order": "nchw"}],
        class_labels=[str(number) for number in range(30)],
        licence="",
        versions=0,
        created_at=NOW,
    )
    facts = dict(model_facts(shown))
    assert facts["Inputs"] == "known after the first version"
    assert facts["Preprocessing"] == "times 0.5, plus 1, then layout nchw"
    assert facts["Classes"].endswith("19 and 10 more")


def demand(*needs: Need, without: int = 0) -> Demand:
    return Demand(model="m", version=1, selector="all", devices=3, without=without, needs=list(needs))


def need(state: str, job_id: str | None = None) -> Need:
    return Need(
        recipe="int8",
        runtime="litert",
        state=state,
        devices=2,
        hardware=["Pi"],
        variant_id=None,
        job_id=job_id,
        reason="",
    )


def test_demand_when_shown_then_counts_what_is_missing_and_who_gets_nothing() -> None:
    assert demand_words(demand(need("missing"), need("present"))) == "3 devices, 1 of 2 variants missing."
    told = demand_words(demand(need("present"), without=2))
    assert told == "3 devices, nothing is missing that can be made. 2 of them can run nothing of it."


def test_need_when_being_built_then_leads_to_the_job() -> None:
    assert need_row(need("building", "j-1"))["state"]["href"] == "/jobs/j-1"
    assert need_row(need("toolchain_missing"))["state"]["text"] == "toolchain missing"


def test_policy_when_shown_then_says_its_budget() -> None:
    policy = BuildPolicy(
        selector="all",
        calibration_dataset="c",
        evaluation_dataset="e",
        golden_dataset="g",
        budget=Budget(max_accuracy_drop=0.015, max_size_bytes=2048, max_latency_ms=5),
        profile=False,
    )
    facts = dict(policy_facts(policy))
    assert facts["Budget"] == "score at most 1.5 points lower, at most 2.0 KiB, at most 5.000 ms"
    assert (facts["For"], facts["Then measures"]) == ("all devices", "nothing")


def test_profile_when_its_golden_set_failed_then_says_so_and_has_no_latency() -> None:
    shown = Profile(
        id="p",
        variant_id="v",
        model="m",
        version=1,
        recipe="int8",
        runtime="litert",
        hardware_class="c",
        hardware="Pi",
        device_id="d-a",
        passed=False,
        figures={"golden": {"agreement": 0.5}, "energy_j": 0.0021, "peak_memory_bytes": 2048},
        history=[],
        measured_at=NOW,
    )
    row = profile_row(shown, NOW)
    assert row["golden"] == table.state("failed", note="agreement 50.0%")
    assert (row["p50"], row["energy"], row["memory"]) == ("–", "2.1 mJ", "2.0 KiB")


@pytest.mark.parametrize(
    ("code", "word", "note"), [("chosen", "chosen", ""), ("runtime.missing", "out", "runtime.missing")]
)
def test_candidate_when_explained_then_has_a_verdict_and_its_code(code: str, word: str, note: str) -> None:
    shown = Explained(
        variant_id="v",
        recipe="int8",
        runtime="litert",
        code=code,
        reason="Why.",
        size_bytes=1,
        accuracy=1,
        latency_p50_ms=None,
        source="none",
    )
    assert candidate_row(shown)["code"] == table.state(word, note=note)


def test_board_when_judged_then_says_how_uncertain_that_is() -> None:
    judged = Advice(
        board="pi",
        title="Pi",
        verdict="may_serve",
        reasons=["It may be slow", "It is hot."],
        variant_id=None,
        latency_ms=(1.0, 2.0, 30.0),
        source="specification",
    )
    row = advice_row(judged)
    assert row["verdict"] == table.state("may serve")
    assert row["latency"] == table.noted("2.000 ms", "1.000 ms to 30.0 ms")
    assert row["reasons"] == "It may be slow. It is hot."


def test_catalogue_when_shown_then_each_figure_has_its_unit_and_its_source() -> None:
    figures: dict[str, dict[str, Any]] = {
        "memory_bandwidth": {"value": 17.1e9, "unit": "bytes/s", "source": "brief"},
        "load_w": {"value": 3, "most": 15, "unit": "W", "source": "measured"},
        "odd": {"value": "much"},
    }
    board = Board(name="pi", title="Pi", runtimes=[], connectivity=[], figures=figures)
    assert [(row["figure"], row["value"], row["source"]) for row in figure_rows(board)] == [
        ("Memory bandwidth", "17.1 GB/s", "brief"),
        ("Power, under load", "3 W to 15 W", "measured"),
        ("odd", "?", ""),
    ]


def test_json_when_it_is_none_then_is_refused_by_its_name() -> None:
    with pytest.raises(Unreadable, match="Signature: this is no JSON"):
        parsed("{", "Signature")


def test_tasks_when_offered_then_are_those_that_models_have() -> None:
    assert [*TASKS] == [task.value for task in Task]
