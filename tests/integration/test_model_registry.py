"""The registry's rows on both databases: what a version goes through, what may be deleted, what is forgotten."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import collection, removal
from controller.artifacts import service as artifacts
from controller.artifacts.lineage import VersionSource
from controller.artifacts.origins import origins
from controller.artifacts.tables import ArtifactRow, DatasetRow, EvaluationRow, VariantRow, VersionRow
from controller.blobs import BlobStore
from controller.compression import inspection
from controller.db import Database, utc_now
from controller.devices.tables import DesiredRow
from controller.errors import Conflict, Invalid, ShoalError
from controller.executions.tables import ExecutionRow
from controller.jobs import service as jobs
from controller.jobs.states import JobState
from controller.jobs.tables import JobRow
from controller.rollouts.tables import RolloutRow, RolloutTargetRow
from shoal.schemas.artifacts import ModelRequest
from shoal.wire.models import Task
from shoal.wire.tensors import encode_tensors
from tests.databases import make_tables
from tests.models import WEIGHTS, linear_onnx
from tests.registry import one_input, signature_row, tensors_row
from tests.rows import add_device

DAY = timedelta(days=1)


class Registry:
    """A registry with the model `linear` and an ONNX file as its first version."""

    def __init__(self, database: Database, folder: Path) -> None:
        make_tables(database)
        self.database = database
        self.blobs = BlobStore((folder / "blobs").as_uri())
        with database.transaction() as session:
            labels = ["a", "b", "c"]
            artifacts.create_model(session, ModelRequest(name="linear", class_labels=labels), "ann")
        self.version_id = self.upload(linear_onnx())

    def keep(self, session: Session, data: bytes, by: str = "ann") -> str:
        sha256, size = self.blobs.put_bytes(data)
        return artifacts.record_artifact(session, sha256, size, by).sha256

    def upload(self, data: bytes, format: str = "onnx") -> str:
        with self.database.transaction() as session:
            sha256 = self.keep(session, data)
            artifacts.check_files(session, self.blobs, format, {"file": sha256})
            row = artifacts.create_version(
                session,
                model="linear",
                format=format,
                file=sha256,
                source=VersionSource.UPLOADED,
                parent_id=None,
                lineage={},
                actor="ann",
            )
            inspection.start(session, row, "ann")
            return row.id

    def end_inspection(self, state: JobState, **ended: Any) -> None:
        with self.database.transaction() as session:
            job = session.scalars(select(JobRow).order_by(JobRow.id.desc())).first()
            assert job is not None
            assert jobs.begin(session, job)
            jobs.finish(session, job, state, **ended)
            inspection.settle(session)

    def pass_inspection(self) -> None:
        found = {"signature": signature_row([4], 3), "inspection": {"runtime": "onnxruntime"}}
        self.end_inspection(JobState.SUCCEEDED, result=found)

    def add_variant(self) -> str:
        with self.database.transaction() as session:
            dataset = DatasetRow(
                name="few",
                role="golden",
                sha256=self.keep(session, b"data"),
                samples=3,
                tensors=tensors_row([4]),
                created_at=utc_now(),
                created_by="ann",
            )
            session.add(dataset)
            session.flush()
            row = artifacts.add_variant(
                session,
                version_id=self.version_id,
                recipe="int8",
                runtime="onnxruntime",
                format="onnx",
                sha256=self.keep(session, b"variant"),
                golden_sha256=self.keep(session, b"golden"),
                size_bytes=7,
                accuracy=0.9,
                agreement=1.0,
                latency_p50_ms=0.1,
                samples=3,
                recipe_steps=[],
                figures={},
                lineage={"datasets": {"golden": dataset.id}, "libraries": {"onnx": "1"}},
                job_id="",
            )
            return row.id

    def version(self) -> VersionRow:
        with self.database.reading() as session:
            return session.get_one(VersionRow, self.version_id)


@pytest.fixture
def registry(empty_database: Database, tmp_path: Path) -> Iterator[Registry]:
    yield Registry(empty_database, tmp_path)


def kinds(error: ShoalError) -> list[tuple[str, str]]:
    return [(one["kind"], one["title"]) for one in error.facts["dependents"]]


def test_version_when_its_inspection_ends_well_then_is_ready_and_its_model_has_a_signature(registry: Registry) -> None:
    with registry.database.transaction() as session, pytest.raises(Conflict) as caught:
        artifacts.ready_version(session, "linear", 1)
    assert (caught.value.code, caught.value.facts["state"]) == ("version.not_ready", "checking")
    registry.pass_inspection()
    with registry.database.reading() as session:
        assert artifacts.ready_version(session, "linear", 1).inspection == {"runtime": "onnxruntime"}
        assert artifacts.get_model(session, "linear").signature == signature_row([4], 3)
        with pytest.raises(Invalid) as refused:
            artifacts.programs_of(artifacts.get_version(session, "linear", 1))
    assert refused.value.code == "version.not_trainable"


def test_version_when_its_inspection_fails_or_is_canceled_then_is_refused_and_may_be_looked_at_again(
    registry: Registry,
) -> None:
    ended = ((JobState.FAILED, "model.not_loadable"), (JobState.REFUSED, "toolchain.missing"))
    for state, code in (*ended, (JobState.CANCELED, "job.canceled")):
        registry.end_inspection(state, code=code, message="why")
        assert (registry.version().state, registry.version().code) == ("refused", code)
        with registry.database.transaction() as session:
            with pytest.raises(Conflict) as caught:
                artifacts.ready_version(session, "linear", 1)
            assert caught.value.facts["reason"] == code
            inspection.start_again(session, session.get_one(VersionRow, registry.version_id), "ann")
            with pytest.raises(Conflict):
                inspection.start_again(session, session.get_one(VersionRow, registry.version_id), "ann")
    registry.pass_inspection()
    assert registry.version().state == "ready"


def test_version_when_what_was_found_is_no_such_model_then_is_refused(registry: Registry) -> None:
    found = {"signature": signature_row([4], 7), "inspection": {}}
    registry.end_inspection(JobState.SUCCEEDED, result=found)
    assert (registry.version().state, registry.version().code) == ("refused", "model.bad_labels")


def test_model_when_it_contradicts_itself_then_is_refused(registry: Registry) -> None:
    labels = ["a", "b", "c"]
    for wrong, code in (
        ({"class_labels": ["a"]}, "model.bad_labels"),
        ({"class_labels": ["a", "a"]}, "model.bad_labels"),
        ({"class_labels": labels, "signature": one_input([4], 2)}, "model.bad_labels"),
    ):
        with registry.database.transaction() as session, pytest.raises(Invalid) as caught:
            artifacts.create_model(session, ModelRequest.model_validate({"name": "wrong", **wrong}), "ann")
        assert caught.value.code == code
    with registry.database.transaction() as session:
        request = ModelRequest(name="right", task=Task.REGRESSION, signature=one_input([4], 2))
        assert artifacts.create_model(session, request, "ann").class_labels == []


def test_file_when_it_is_not_what_was_said_then_no_version_is_made(registry: Registry) -> None:
    for data, format, code in (
        (b"TFL3", "onnx", "model.wrong_format"),
        (linear_onnx()[:-9], "onnx", "model.truncated"),
        (b"\x80\x04N.", "eim", "model.pickled"),
    ):
        with pytest.raises(Invalid) as caught:
            registry.upload(data, format)
        assert caught.value.code == code
    with registry.database.reading() as session:
        assert len(session.scalars(select(VersionRow)).all()) == 1


def test_delete_when_something_depends_on_it_then_is_refused_with_the_list(registry: Registry) -> None:
    with registry.database.transaction() as session, pytest.raises(Conflict) as caught:
        removal.delete_version(session, "linear", 1)
    assert [kind for kind, _ in kinds(caught.value)] == ["job"]
    registry.pass_inspection()
    variant_id = registry.add_variant()
    with registry.database.transaction() as session:
        for delete, expected in (
            (lambda: removal.delete_model(session, "linear"), ("version", "linear/1")),
            (lambda: removal.delete_version(session, "linear", 1), ("variant", "int8 for onnxruntime")),
            (lambda: removal.delete_dataset(session, "few"), ("variant", "int8 for onnxruntime")),
        ):
            with pytest.raises(Conflict) as refused:
                delete()
            assert kinds(refused.value) == [expected]
    with registry.database.transaction() as session:
        device = add_device(session, "d-a")
        session.get_one(DesiredRow, "d-a").body = {"variants": [{"variant_id": variant_id}]}
        rollout = RolloutRow(
            version_id=registry.version_id,
            state="running",
            selector="all",
            waves=[],
            error_ratio_limit=0.1,
            created_by="ann",
            created_at=utc_now(),
        )
        session.add(rollout)
        session.flush()
        session.add(RolloutTargetRow(rollout_id=rollout.id, device_id=device.id, wave=0, variant_id=variant_id))
    with registry.database.transaction() as session, pytest.raises(Conflict) as caught:
        removal.delete_variant(session, variant_id)
    assert (caught.value.code, sorted(kinds(caught.value))) == (
        "variant.in_use",
        [("device", "a slot of d-a"), ("rollout", rollout.id)],
    )


def test_delete_when_nothing_depends_on_it_then_goes_from_the_leaves_to_the_model(registry: Registry) -> None:
    registry.pass_inspection()
    variant_id = registry.add_variant()
    with registry.database.transaction() as session:
        file = session.get_one(VersionRow, registry.version_id).file
        few = artifacts.get_dataset(session, "few")
        assert file is not None
        artifacts.record_evaluation(
            session, weights=file, dataset_id=few.id, accuracy=1.0, loss=0.0, samples=3, job_id=""
        )
        removal.delete_variant(session, variant_id)
        with pytest.raises(Conflict) as caught:
            removal.delete_dataset(session, "few")
        assert kinds(caught.value) == [("evaluation", "of linear/1")]
        removal.delete_version(session, "linear", 1)
        assert session.scalars(select(EvaluationRow)).all() == []
        removal.delete_dataset(session, "few")
        removal.delete_model(session, "linear")
    with registry.database.reading() as session:
        assert session.scalars(select(VariantRow)).all() == []


def test_lineage_when_read_then_names_data_sets_and_libraries(registry: Registry) -> None:
    registry.pass_inspection()
    variant_id = registry.add_variant()
    with registry.database.reading() as session:
        graph = origins(session, "linear")
    assert {(edge.source, edge.role, edge.target) for edge in graph.edges} == {
        ("version:1", "parent", f"variant:{variant_id}"),
        ("dataset:few", "golden", f"variant:{variant_id}"),
    }


def collect(registry: Registry, after: timedelta, logs_kept: timedelta = timedelta(days=30)) -> set[bytes]:
    """Collect at a later time; gives what is left of the bytes."""
    now = utc_now() + after
    collection.collect(registry.database, registry.blobs, grace=DAY, logs_kept=logs_kept, now=now)
    with registry.database.reading() as session:
        rows = set(session.scalars(select(ArtifactRow.sha256)))
    stored = {blob.sha256 for blob in registry.blobs.every()}
    assert rows == stored
    return {registry.blobs.read(sha256) for sha256 in stored}


def test_collection_when_nothing_names_an_artifact_then_it_goes_after_its_grace(registry: Registry) -> None:
    registry.pass_inspection()
    with registry.database.transaction() as session:
        registry.keep(session, b"unused")
    assert collect(registry, DAY / 2) == {linear_onnx(), b"unused"}
    registry.blobs.put_bytes(b"orphan of a worker")
    assert collect(registry, 2 * DAY) == {linear_onnx()}


def test_collection_when_bytes_come_again_then_their_grace_begins_anew(registry: Registry) -> None:
    with registry.database.transaction() as session:
        sha256 = registry.keep(session, b"unused")
        session.get_one(ArtifactRow, sha256).renewed_at = utc_now() - 2 * DAY
    with registry.database.transaction() as session:
        registry.keep(session, b"unused")
    assert b"unused" in collect(registry, timedelta())


def test_collection_when_open_work_or_a_young_log_names_bytes_then_they_stay(registry: Registry) -> None:
    with registry.database.transaction() as session:
        add_device(session, "d-a")
        sha256 = registry.keep(session, b"source")
        jobs.create(session, kind="import", subject="x", spec={"source": {"sha256": sha256}}, actor="ann")
        log = registry.keep(session, b"log", "d-a")
        session.add(
            ExecutionRow(
                kind="command",
                device_id="d-a",
                owner_id="c",
                state="succeeded",
                max_attempts=1,
                priority=1,
                expires_at=utc_now(),
                spec={"name": "collect_logs"},
                sent_timeout_s=1,
                progress_timeout_s=1,
                waiting_for={},
                result={"log": {"sha256": log, "size_bytes": 3}},
                created_at=utc_now(),
                updated_at=utc_now(),
                finished_at=utc_now(),
            )
        )
    assert collect(registry, 2 * DAY) == {linear_onnx(), b"source", b"log"}
    assert collect(registry, 40 * DAY) == {linear_onnx(), b"source"}


def test_collection_when_killed_between_row_and_bytes_then_the_next_look_ends_it(registry: Registry) -> None:
    with registry.database.transaction() as session:
        registry.keep(session, encode_tensors({"w": WEIGHTS}))
    later = utc_now() + 2 * DAY
    with registry.database.transaction() as session:
        assert collection.forget_rows(session, before=later, logs_before=later) == 1
    assert collect(registry, 2 * DAY) == {linear_onnx()}
