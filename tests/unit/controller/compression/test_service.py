"""What a compression may be asked for, and how what it made becomes rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from controller import migrate
from controller.artifacts import service as artifacts
from controller.artifacts.lineage import VersionSource
from controller.artifacts.tables import DatasetRow
from controller.compression import service
from controller.db import Database, utc_now
from controller.errors import Conflict, Invalid, NotFound
from controller.jobs import service as jobs
from controller.jobs.states import JobState
from controller.jobs.tables import JobRow
from shoal.schemas.artifacts import ModelRequest
from shoal.schemas.jobs import CompressionRequest

PROGRAM, WEIGHTS, DATA, MODEL, GOLDEN = (digit * 64 for digit in "12345")
TRIAL: dict[str, Any] = {
    "recipe": "fp32",
    "runtime": "onnxruntime",
    "sha256": MODEL,
    "size_bytes": 10,
    "golden_sha256": GOLDEN,
    "golden_size_bytes": 20,
    "accuracy": 0.9,
    "agreement": 1.0,
    "latency_p50_ms": 0.1,
    "samples": 200,
}
FIGURES = {"accuracy": 0.5, "loss": 1.0, "samples": 9}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A registry with version 1 of `digits` and a data set of each role."""
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    migrate.upgrade(database)
    with database.transaction() as session:
        for sha256 in (PROGRAM, WEIGHTS, DATA):
            artifacts.record_artifact(session, sha256, 1, "test")
        artifacts.create_model(session, ModelRequest(name="digits", input_shape=[4], class_labels=["a", "b"]), "test")
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
        for role in ("calibration", "evaluation", "golden"):
            add_dataset(session, role, role, [4])
        yield session
    database.close()


def add_dataset(session: Session, name: str, role: str, shape: list[int]) -> None:
    session.add(
        DatasetRow(
            name=name, role=role, sha256=DATA, samples=9, sample_shape=shape, created_at=utc_now(), created_by="test"
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


def test_compression_when_asked_for_then_is_a_queued_job(session: Session) -> None:
    job = service.create(session, request(), "admin")
    assert (job.kind, job.state, job.subject, job.created_by) == ("compress", "queued", "digits/1", "admin")
    assert service.KINDS["compress"].prepare(session, job) == {
        "program": PROGRAM,
        "weights": WEIGHTS,
        "calibration": DATA,
        "evaluation": DATA,
        "golden": DATA,
        "trials": [["fp32", "onnxruntime"], ["int8", "openvino"]],
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 2}, "version.not_found"),
        ({"golden_dataset": "nothing"}, "dataset.not_found"),
        ({"golden_dataset": "evaluation"}, "recipe.wrong_role"),
        ({"golden_dataset": "wide"}, "recipe.wrong_shape"),
        ({"recipes": [{"name": "fp32", "runtimes": ["openvino", "openvino"]}]}, "recipe.duplicate"),
    ],
)
def test_compression_when_wrong_then_is_refused_by_name(session: Session, changes: dict[str, Any], code: str) -> None:
    add_dataset(session, "wide", "golden", [5])
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


def test_variant_when_kept_then_is_a_row_once_and_the_next_attempt_skips_it(session: Session) -> None:
    job = service.create(session, request(), "admin")
    kind = service.KINDS["compress"]
    for _ in range(2):
        kind.keep(session, job, TRIAL)
    (variant,) = artifacts.list_variants(session, job.spec["version_id"])
    assert (variant.sha256, variant.golden_sha256, variant.job_id) == (MODEL, GOLDEN, job.id)
    assert variant.recipe_spec["datasets"] == job.spec["datasets"]
    assert kind.prepare(session, job)["trials"] == [["int8", "openvino"]]


def evaluation(session: Session) -> JobRow:
    dataset = artifacts.get_dataset(session, "evaluation")
    spec = {"weights": WEIGHTS, "program": PROGRAM, "dataset": DATA, "dataset_id": dataset.id}
    return jobs.create(session, kind="evaluate", subject="digits/1", spec=spec, actor="admin")


def test_evaluation_when_kept_then_is_found_and_not_measured_again(session: Session) -> None:
    job, kind = evaluation(session), service.KINDS["evaluate"]
    assert "known" not in kind.prepare(session, job)
    kind.keep(session, job, FIGURES)
    found = artifacts.find_evaluation(session, WEIGHTS, job.spec["dataset_id"])
    assert found is not None
    assert (found.accuracy, found.loss, found.samples, found.job_id) == (0.5, 1.0, 9, job.id)
    assert kind.prepare(session, evaluation(session))["known"] == FIGURES
