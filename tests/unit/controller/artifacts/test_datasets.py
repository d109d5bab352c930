"""Data sets against their role and against what a model takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from controller.artifacts import datasets, service
from controller.artifacts.dataset_file import DatasetFigures
from controller.artifacts.stored import record_artifact
from controller.artifacts.tables import ModelRow
from controller.db import Database, utc_now
from controller.errors import Conflict, Invalid, NotFound, ShoalError
from shoal.schemas.artifacts import DatasetRequest
from tests.databases import make_tables

SHA256 = "ab" * 32
X = {"datatype": "FP32", "shape": [1, 8, 8]}
Y = {"datatype": "INT64", "shape": []}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    make_tables(database)
    with database.transaction() as session:
        record_artifact(session, SHA256, 1000, "test")
        session.add(model("digits", [spec("input", [-1, 1, 8, 8])]))
        session.add(model("two", [spec("image", [-1, -1, 8]), spec("meter", [-1, 2], "INT32")]))
        session.add(model("unknown", []))
        session.flush()
        yield session
    database.close()


def spec(name: str, shape: list[int], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def model(name: str, inputs: list[dict[str, Any]]) -> ModelRow:
    signature = {"inputs": inputs, "outputs": [spec("output", [-1, 10])]} if inputs else {}
    labels = [str(label) for label in range(10)]
    return ModelRow(
        name=name,
        task="classification",
        signature=signature,
        class_labels=labels,
        created_at=utc_now(),
        created_by="test",
    )


def figures(samples: int = 8, largest_label: int | None = None, **tensors: Any) -> DatasetFigures:
    return DatasetFigures(samples=samples, tensors=tensors, largest_label=largest_label)


def request(role: str = "golden", name: str = "held", **others: Any) -> DatasetRequest:
    return DatasetRequest.model_validate({"name": name, "role": role, "sha256": SHA256, **others})


@pytest.mark.parametrize(
    ("wanted", "found", "code"),
    [
        (request("calibration"), figures(7, x=X), "dataset.too_few"),
        (request("evaluation"), figures(x=X), "dataset.no_labels"),
        (request("training"), figures(x=X), "dataset.no_labels"),
        (request(model="digits"), figures(x={"datatype": "FP32", "shape": [8, 8]}), "dataset.shape_mismatch"),
        (request(model="digits"), figures(x={"datatype": "UINT8", "shape": [1, 8, 8]}), "dataset.shape_mismatch"),
        (request(model="digits"), figures(**{"x.input": X}), "dataset.shape_mismatch"),
        (request(model="two"), figures(x=X), "dataset.shape_mismatch"),
        (
            request(model="two"),
            figures(**{"x.image": {"datatype": "FP32", "shape": [5, 8]}}),
            "dataset.shape_mismatch",
        ),
        (request(model="digits"), figures(largest_label=10, x=X, y=Y), "dataset.bad_labels"),
        (request(model="nobody"), figures(x=X), "model.not_found"),
        (request(model="unknown"), figures(x=X), "model.no_signature"),
        (request(sha256="0" * 64), figures(x=X), "artifact.not_found"),
    ],
)
def test_dataset_when_it_serves_not_for_what_it_should_then_is_refused(
    session: Session, wanted: DatasetRequest, found: DatasetFigures, code: str
) -> None:
    with pytest.raises(ShoalError) as caught:
        service.create_dataset(session, wanted, found, "test")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (request("calibration", model="digits"), figures(8, x=X)),
        (request("evaluation", model="digits"), figures(1, 9, x=X, y=Y)),
        (request("training"), figures(x=X, **{"y.boxes": {"datatype": "FP32", "shape": [5, 4]}})),
        (
            request(model="two"),
            figures(
                **{
                    "x.image": {"datatype": "FP32", "shape": [77, 8]},
                    "x.meter": {"datatype": "INT32", "shape": [2]},
                }
            ),
        ),
    ],
)
def test_dataset_when_it_fits_then_is_kept_with_its_tensors(
    session: Session, wanted: DatasetRequest, found: DatasetFigures
) -> None:
    row = service.create_dataset(session, wanted, found, "test")
    assert (row.tensors, row.samples, row.source_sha256) == (found.tensors, found.samples, None)
    assert service.get_dataset(session, row.id) is row
    with pytest.raises(Conflict, match="never change"):
        service.create_dataset(session, wanted, found, "test")


def test_dataset_when_converted_then_names_what_it_came_from(session: Session) -> None:
    record_artifact(session, "cd" * 32, 500, "job")
    row = service.create_dataset(session, request(format="npz"), figures(x=X), "test", converted="cd" * 32)
    assert (row.sha256, row.source_sha256, row.format) == ("cd" * 32, SHA256, "npz")


def test_dataset_when_given_to_a_model_that_it_does_not_fit_then_is_refused(session: Session) -> None:
    service.create_dataset(session, request(), figures(x=X), "test")
    assert datasets.fitting_dataset(session, service.get_model(session, "digits"), "held").name == "held"
    with pytest.raises(Invalid, match=r"takes x\.image, x\.meter"):
        datasets.fitting_dataset(session, service.get_model(session, "two"), "held")
    with pytest.raises(NotFound):
        datasets.fitting_dataset(session, service.get_model(session, "two"), "nobody")
