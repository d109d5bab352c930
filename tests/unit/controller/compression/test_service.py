"""What a compression may be asked for, what it plans, and how what it made becomes rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.lineage import VersionSource
from controller.artifacts.tables import DatasetRow
from controller.compression import service, standing
from controller.db import Database, utc_now
from controller.errors import Conflict, Invalid, NotFound
from controller.jobs import service as jobs
from controller.jobs.states import JobState
from controller.jobs.tables import JobRow
from controller.jobs.units import End, Unit
from shoal.schemas.artifacts import ModelRequest
from shoal.schemas.jobs import CompressionRequest
from tests.databases import make_tables
from tests.registry import one_input, signature_row, tensors_row

PROGRAM, WEIGHTS, DATA, MODEL, GOLDEN, ANSWERS = (digit * 64 for digit in "123456")
FIGURES = {"accuracy": 0.5, "loss": 1.0, "samples": 9}
MEASURED = {"accuracy": 0.9, "agreement": 1.0, "size_bytes": 10, "latency_p50_ms": 0.1, "samples": 200, "load_s": 0.5}
SEARCH = {"recipes": [], "search": {"runtimes": ["onnxruntime"], "max_trials": 4}, "budget": {"max_accuracy_drop": 0.1}}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A registry with version 1 of `digits` and a data set of each role."""
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    make_tables(database)
    with database.transaction() as session:
        for sha256 in (PROGRAM, WEIGHTS, DATA):
            artifacts.record_artifact(session, sha256, 1, "test")
        model = ModelRequest(name="digits", signature=one_input([4], 2), class_labels=["a", "b"])
        artifacts.create_model(session, model, "test")
        artifacts.create_version(
            session,
            model="digits",
            train_program=PROGRAM,
            eval_program=PROGRAM,
            weights=WEIGHTS,
            source=VersionSource.FEDERATED,
            parent_id=None,
            lineage={},
            actor="test",
        )
        for role in ("calibration", "evaluation", "golden", "training"):
            add_dataset(session, role, role, tensors_row([4]))
        yield session
    database.close()


def add_dataset(session: Session, name: str, role: str, tensors: dict[str, Any], samples: int = 9) -> None:
    session.add(
        DatasetRow(
            name=name,
            role=role,
            sha256=DATA,
            samples=samples,
            tensors=tensors,
            created_at=utc_now(),
            created_by="test",
        )
    )
    session.flush()


def request(**changes: Any) -> CompressionRequest:
    body = {
        "model": "digits",
        "version": 1,
        "recipes": [{"name": "fp32", "runtimes": ["onnxruntime"]}, {"name": "int8", "runtimes": ["openvino"]}],
        "calibration_dataset": "calibration",
        "evaluation_dataset": "evaluation",
        "golden_dataset": "golden",
    }
    return CompressionRequest.model_validate({**body, **changes})


def trial(recipe: str, runtime: str, *, is_made: bool = True, accuracy: float = 0.9) -> dict[str, Any]:
    made = {
        "format": "onnx",
        "sha256": MODEL,
        "size_bytes": 10,
        "golden_sha256": GOLDEN,
        "golden_size_bytes": 20,
        "libraries": {"onnxruntime": "1.32.0"},
        "code": "0.1",
    }
    told = {
        "key": f"{recipe}/{runtime}",
        "recipe": recipe,
        "steps": [],
        "runtime": runtime,
        "state": "succeeded" if is_made else "refused",
        "code": "" if is_made else "size.over_budget",
        "message": "",
        "figures": {**MEASURED, "accuracy": accuracy},
    }
    return {**told, "variant": made} if is_made else told


def begun(session: Session, **changes: Any) -> JobRow:
    row = service.create(session, request(**changes), "admin")
    jobs.begin(session, row)
    jobs.keep(row, "reference", {"score": 0.95, "samples": 200, "size_bytes": 100, "answers": ANSWERS})
    return row


def units(session: Session, row: JobRow) -> list[tuple[str, list[str]]]:
    made = standing.plan(session, row, ()).units
    return [(unit.key, [one["name"] for one in unit.spec["pipelines"]]) for unit in made]


def test_compression_when_asked_for_then_is_a_queued_job(session: Session) -> None:
    job = service.create(session, request(training_dataset="training"), "admin")
    assert (job.kind, job.state, job.subject, job.created_by) == ("compress", "queued", "digits/1", "admin")
    assert service.planned(job) == [("fp32", "onnxruntime"), ("int8", "openvino")]
    assert service.KINDS["compress"].prepare(session, job) == {
        "format": "program",
        "task": "classification",
        "signature": signature_row([4], 2),
        "budget": None,
        "factors": {},
        "students": {},
        "program": PROGRAM,
        "weights": WEIGHTS,
        "calibration": DATA,
        "evaluation": DATA,
        "golden": DATA,
        "training": DATA,
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 2}, "version.not_found"),
        ({"golden_dataset": "nothing"}, "dataset.not_found"),
        ({"golden_dataset": "evaluation"}, "recipe.wrong_role"),
        ({"golden_dataset": "wide"}, "recipe.wrong_shape"),
        ({"evaluation_dataset": "blind"}, "recipe.no_targets"),
        ({"calibration_dataset": "few"}, "recipe.needs_calibration"),
        ({"recipes": [{"name": "fp32", "runtimes": ["openvino", "openvino"]}]}, "recipe.duplicate"),
        ({"recipes": [{"name": "a", "steps": [{"op": "prune"}], "runtimes": ["openvino"]}]}, "recipe.needs_training"),
        ({**SEARCH, "search": {"runtimes": ["edgeimpulse"]}}, "recipe.not_for_format"),
        (
            {
                "recipes": [
                    {"name": "a", "steps": [{"op": "distill", "width": None, "student": 7}], "runtimes": ["litert"]}
                ],
                "training_dataset": "training",
            },
            "version.not_found",
        ),
    ],
)
def test_compression_when_wrong_then_is_refused_by_name(session: Session, changes: dict[str, Any], code: str) -> None:
    add_dataset(session, "wide", "golden", tensors_row([5]))
    add_dataset(session, "blind", "evaluation", {"x": tensors_row([4])["x"]})
    add_dataset(session, "few", "calibration", tensors_row([4]), samples=3)
    with pytest.raises((Invalid, NotFound)) as caught:
        service.create(session, request(**changes), "admin")
    assert caught.value.code == code


def test_compression_when_one_makes_the_same_now_then_conflicts_and_later_does_not(session: Session) -> None:
    first = service.create(session, request(), "admin")
    with pytest.raises(Conflict) as caught:
        service.create(session, request(), "admin")
    assert (caught.value.code, caught.value.facts) == ("recipe.in_progress", {"job_id": first.id})
    jobs.begin(session, first)
    jobs.finish(session, first, JobState.FAILED)
    assert service.create(session, request(), "admin").id != first.id


def test_name_when_a_variant_has_it_then_another_pipeline_cannot(session: Session) -> None:
    steps = [{"op": "prune", "keep": 0.25}]
    named = {"recipes": [{"name": "half", "steps": steps, "runtimes": ["openvino"]}], "training_dataset": "training"}
    service.create(session, request(**named), "admin")
    other = {"name": "half", "steps": [{"op": "prune", "keep": 0.5}], "runtimes": ["onnxruntime"]}
    with pytest.raises(Invalid) as caught:
        service.create(session, request(**{**named, "recipes": [other]}), "admin")
    assert caught.value.code == "recipe.name_taken"


def test_variant_when_kept_then_is_a_row_once_with_its_lineage_and_is_not_planned_again(session: Session) -> None:
    job = begun(session)
    assert units(session, job) == [("here", ["fp32", "int8"])]
    for _ in range(2):
        standing.keep(session, job, trial("fp32", "onnxruntime"))
    (variant,) = artifacts.list_variants(session, job.spec["version_id"])
    assert (variant.sha256, variant.golden_sha256, variant.format, variant.job_id) == (MODEL, GOLDEN, "onnx", job.id)
    assert variant.lineage["datasets"] == job.spec["datasets"]
    assert (variant.lineage["libraries"], variant.lineage["by"]) == ({"onnxruntime": "1.32.0"}, "admin")
    assert variant.figures == {"load_s": 0.5}
    (row,) = jobs.list_trials(session, job.id)
    assert (row.variant_id, row.artifacts) == (variant.id, {"model": MODEL, "golden": GOLDEN})
    assert units(session, job) == [("here", ["int8"])]
    jobs.finish(session, job, JobState.FAILED)
    assert units(session, begun(session)) == [("here", ["int8"])]


def test_unit_when_it_breaks_off_then_its_missing_trials_failed_by_its_code(session: Session) -> None:
    job = begun(session)
    standing.keep(session, job, trial("fp32", "onnxruntime"))
    (unit,) = standing.plan(session, job, ()).units
    whole = Unit(key=unit.key, spec={"pipelines": job.spec["pipelines"]})
    standing.close(session, job, whole, End(state=JobState.FAILED, code="disk.full", message="No room."))
    made = standing.plan(session, job, ())
    assert made.end is not None
    assert (list(made.units), made.end.state, made.end.code, made.done) == ([], JobState.FAILED, "disk.full", 1.0)
    assert [one["recipe"] for one in made.end.result["variants"]] == ["fp32"]


def test_unit_when_the_version_cannot_be_made_then_the_job_ends_by_its_code(session: Session) -> None:
    job = service.create(session, request(), "admin")
    jobs.begin(session, job)
    (unit,) = standing.plan(session, job, ()).units
    standing.close(session, job, unit, End(state=JobState.FAILED, code="program.not_loadable", message="So."))
    made = standing.plan(session, job, ())
    assert made.end is not None
    assert (list(made.units), made.end.code, dict(made.end.result)) == ([], "program.not_loadable", {})


def test_search_when_nothing_is_inside_the_budget_then_is_refused_with_the_closest(session: Session) -> None:
    job = begun(session, **SEARCH)
    for name, runtime in service.planned(job):
        standing.keep(session, job, trial(name, runtime, is_made=False, accuracy=0.2))
    made = standing.plan(session, job, ())
    assert made.end is not None
    assert (list(made.units), made.end.state, made.end.code) == ([], JobState.REFUSED, "budget.not_met")
    assert made.end.result["closest"]["accuracy"] == 0.2


def test_search_when_its_trials_are_used_up_then_the_others_are_rows_that_say_so(session: Session) -> None:
    job = begun(session, **SEARCH, training_dataset="training")
    for name, runtime in service.planned(job)[:4]:
        standing.keep(session, job, trial(name, runtime))
    made = standing.plan(session, job, ())
    assert made.end is not None
    assert (list(made.units), made.end.state) == ([], JobState.SUCCEEDED)
    rows = jobs.list_trials(session, job.id)
    stopped = [row for row in rows if row.state == "stopped"]
    assert len(stopped) == len(rows) - 4 > 10
    assert {row.message for row in stopped} == {"The trials are used up."}


def test_front_when_trials_differ_then_has_those_that_none_beats(session: Session) -> None:
    job = begun(session)
    standing.keep(session, job, trial("fp32", "onnxruntime", accuracy=0.95))
    standing.keep(session, job, trial("int8", "openvino", accuracy=0.90))
    rows = jobs.list_trials(session, job.id)
    assert service.front_of(rows) == {rows[0].id}


def evaluation(session: Session) -> JobRow:
    dataset = artifacts.get_dataset(session, "evaluation")
    spec = {"weights": WEIGHTS, "program": PROGRAM, "dataset": DATA, "dataset_id": dataset.id}
    return jobs.create(session, kind="evaluate", subject="digits/1", spec=spec, actor="admin")


def test_evaluation_when_kept_then_is_found_and_not_measured_again(session: Session) -> None:
    job, kind = evaluation(session), service.KINDS["evaluate"]
    assert kind.prepare(session, job)["task"] == "classification"
    kind.keep(session, job, FIGURES)
    found = artifacts.find_evaluation(session, WEIGHTS, job.spec["dataset_id"])
    assert found is not None
    assert (found.accuracy, found.loss, found.samples, found.job_id) == (0.5, 1.0, 9, job.id)
    assert kind.prepare(session, evaluation(session))["known"] == FIGURES
