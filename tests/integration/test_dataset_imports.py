"""Imports of data sets: the job's own function with the real sandbox, on a folder and on an S3 server."""

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.dataset_file import DatasetFigures
from controller.artifacts.tables import DatasetRow, ModelRow
from controller.blobs import BlobStore
from controller.datasets import service
from controller.datasets.convert import convert
from controller.db import Database, utc_now
from controller.errors import Conflict, Invalid, NotFound, ShoalError
from controller.jobs.tables import JobRow
from controller.jobs.work import JobFailed, Task
from controller.settings import Settings
from shoal.schemas.artifacts import DatasetRequest
from shoal.wire.tensors import decode_tensors
from tests.databases import make_tables
from tests.objectstore import ObjectStore
from tests.rig import children_of

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(40, 3, 4)).astype(np.float32)
Y = RANDOM.integers(0, 3, 40)


@dataclass
class Heard:
    """A report that keeps what it is told."""

    shares: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    trials: list[Mapping[str, Any]] = field(default_factory=list)

    def progress(self, share: float, message: str) -> None:
        self.shares.append(share)
        self.messages.append(message)

    def log(self, level: str, text: str) -> None:
        assert level == "info" and text

    def keep(self, name: str, value: Any) -> None:
        raise AssertionError("nothing is kept for other attempts")

    def trial(self, trial: Mapping[str, Any]) -> None:
        self.trials.append(trial)


class Killer(Heard):
    """A report that kills the sandbox as soon as it converts."""

    def progress(self, share: float, message: str) -> None:
        super().progress(share, message)
        if message.startswith("Converting"):
            for process in children_of(os.getpid(), "controller.jobs.confine"):
                process.kill()


class Registry:
    """What the job needs of a controller."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.resolved_database_url())
        make_tables(self.database)
        self.blobs = BlobStore(settings.blobs_at())
        self.report = Heard()

    def upload(self, data: bytes) -> str:
        sha256, size = self.blobs.put_bytes(data)
        with self.database.transaction() as session:
            artifacts.record_artifact(session, sha256, size, "test")
        return sha256

    def create(self, data: bytes, format: str, **others: Any) -> str:
        wanted = {"name": "held", "role": "evaluation", "format": format, "sha256": self.upload(data), **others}
        with self.database.transaction() as session:
            return service.create(session, DatasetRequest.model_validate(wanted), "anna").id

    def work(self, job_id: str) -> dict[str, Any]:
        """Do what the runner does of a job: prepare, run, keep what it reports."""
        kind = service.KINDS[service.IMPORT]
        with self.database.reading() as session:
            spec = kind.prepare(session, session.get_one(JobRow, job_id))
        task = Task(
            spec=spec, blobs=self.settings.blobs_at(), state=self.settings.state.absolute(), allow_unisolated=True
        )
        result = convert(task, self.report)
        for trial in self.report.trials:
            with self.database.transaction() as session:
                kind.keep(session, session.get_one(JobRow, job_id), trial)
        return result

    def dataset(self) -> DatasetRow:
        with self.database.reading() as session:
            return artifacts.get_dataset(session, "held")

    def held(self) -> set[str]:
        return {blob.sha256 for blob in self.blobs.every()}


@pytest.fixture(params=["folder", "s3"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    if request.param == "folder":
        settings = Settings(state=tmp_path)
    else:
        store: ObjectStore = request.getfixturevalue("object_store")
        settings = store.settings(tmp_path, prefix=tmp_path.name)
    registry = Registry(settings)
    yield registry
    registry.database.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(Settings(state=tmp_path))
    yield registry
    registry.database.close()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def photos(count: int = 3) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for label in ("cat", "dog"):
            for place in range(count):
                image = io.BytesIO()
                Image.new("RGB", (10 + place, 20), (place, 0, 0)).save(image, "PNG")
                archive.writestr(f"{label}/{place}.png", image.getvalue())
    return buffer.getvalue()


def add_model(session: Session, preprocessing: list[dict[str, Any]]) -> None:
    tensors = {
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 8, 8]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}],
    }
    session.add(
        ModelRow(
            name="pets",
            task="classification",
            signature=tensors,
            preprocessing=preprocessing,
            class_labels=["dog", "cat"],
            created_at=utc_now(),
            created_by="test",
        )
    )


def test_import_when_good_then_is_a_data_set_with_its_source_and_progress_was_told(registry: Registry) -> None:
    source = npz(x=X.astype(np.float64), y=Y)
    job_id = registry.create(source, "npz")
    result = registry.work(job_id)
    row = registry.dataset()
    assert (row.samples, row.format, row.created_by, result["samples"]) == (40, "npz", "anna", 40)
    assert row.tensors == {"x": {"datatype": "FP32", "shape": [3, 4]}, "y": {"datatype": "INT64", "shape": []}}
    assert row.source_sha256 is not None
    assert registry.blobs.read(row.source_sha256) == source
    tensors = decode_tensors(registry.blobs.read(row.sha256))
    np.testing.assert_array_equal(tensors["x"], X)
    np.testing.assert_array_equal(tensors["y"], Y)
    assert registry.report.shares == sorted(registry.report.shares)
    assert any("of 40 samples" in message for message in registry.report.messages)


def test_import_when_the_controller_ended_after_it_then_the_next_attempt_does_nothing(local: Registry) -> None:
    job_id = local.create(npz(x=X, y=Y), "npz")
    first = local.work(job_id)
    local.report = Heard()
    assert local.work(job_id)["samples"] == first["samples"]
    assert (local.report.trials, local.report.messages) == ([], [])


def test_import_when_of_photos_for_a_model_then_they_are_prepared_as_it_declares(local: Registry) -> None:
    steps = [{"op": "resize", "width": 8, "height": 8}, {"op": "layout", "order": "nchw"}]
    with local.database.transaction() as session:
        add_model(session, steps)
    result = local.work(local.create(photos(), "images", model="pets"))
    row = local.dataset()
    assert row.tensors["x"] == {"datatype": "FP32", "shape": [3, 8, 8]}
    assert (row.samples, result["class_labels"]) == (6, ["dog", "cat"])


def test_import_when_photos_do_not_fit_the_model_then_nothing_is_kept(local: Registry) -> None:
    with local.database.transaction() as session:
        add_model(session, [{"op": "resize", "width": 9, "height": 9}, {"op": "layout", "order": "nchw"}])
    with pytest.raises(Invalid) as caught:
        local.work(local.create(photos(), "images", model="pets"))
    assert caught.value.code == "dataset.shape_mismatch"
    with pytest.raises(NotFound):
        local.dataset()


@pytest.mark.parametrize(
    ("data", "format", "code"),
    [
        (b"no archive", "npz", "dataset.malformed"),
        (b"\x80\x04\x95" + bytes(50), "npz", "dataset.pickled"),
        (npz(x=np.where(X > 1, np.nan, X), y=Y), "npz", "dataset.not_finite"),
        (npz(x=X.astype(np.float64) * 1e300, y=Y), "npz", "dataset.not_finite"),
        (npz(x=X), "npz", "dataset.no_labels"),
        (npz(x=X, y=Y[:9]), "npz", "dataset.malformed"),
        (photos(), "images", "dataset.size_differs"),
        (photos(), "parquet", "dataset.malformed"),
    ],
)
def test_import_when_the_file_is_bad_then_fails_by_name_and_no_data_set_is_there(
    local: Registry, data: bytes, format: str, code: str
) -> None:
    job_id = local.create(data, format)
    with pytest.raises((JobFailed, ShoalError)) as caught:
        local.work(job_id)
    assert caught.value.code == code
    with pytest.raises(NotFound):
        local.dataset()


def test_import_when_its_reader_is_killed_then_fails_by_name_and_leaves_nothing(registry: Registry) -> None:
    data = npz(x=RANDOM.normal(size=(400, 50_000)), y=np.zeros(400, np.int64))
    job_id = registry.create(data, "npz")
    before = registry.held()
    registry.report = Killer()
    with pytest.raises(JobFailed) as caught:
        registry.work(job_id)
    assert (caught.value.code, registry.held()) == ("dataset.crashed", before)


def test_import_when_wanted_twice_or_of_nothing_then_is_refused_before_it_starts(local: Registry) -> None:
    local.create(npz(x=X, y=Y), "npz")
    for wanted, code in (
        ({"data": npz(x=X, y=Y), "format": "npz"}, "dataset.in_progress"),
        ({"data": b"x", "format": "safetensors", "name": "other"}, "dataset.no_import"),
        ({"data": b"x", "format": "npz", "name": "other", "sha256": "0" * 64}, "artifact.not_found"),
        ({"data": b"x", "format": "images", "name": "other", "model": "nobody"}, "model.not_found"),
    ):
        with pytest.raises(ShoalError) as caught:
            local.create(**wanted)  # type: ignore[arg-type]
        assert caught.value.code == code


def test_import_when_the_name_was_taken_meanwhile_then_the_row_that_is_there_stays(local: Registry) -> None:
    job_id = local.create(npz(x=X, y=Y), "npz")
    figures = DatasetFigures(samples=1, tensors={"x": {"datatype": "FP32", "shape": [1]}})
    wanted = {"name": "held", "role": "golden", "sha256": local.upload(b"other")}
    with local.database.transaction() as session:
        artifacts.create_dataset(session, DatasetRequest.model_validate(wanted), figures, "bert")
    with pytest.raises(Conflict, match="never change"):
        local.work(job_id)
    assert local.dataset().created_by == "bert"
