"""Imports of data sets as jobs: wanted by an operator, prepared for the worker, kept as rows."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy.orm import Session

from controller.artifacts import datasets
from controller.artifacts.dataset_file import MAX_DATASET_BYTES, DatasetFigures
from controller.artifacts.models import get_model, signature_of
from controller.artifacts.stored import get_artifact, record_artifact
from controller.errors import Conflict, Invalid, NotFound
from controller.jobs import service as jobs
from controller.jobs.tables import JobRow
from controller.jobs.work import Kind
from shoal.schemas.artifacts import DatasetRequest

IMPORT: Final = "import_dataset"


def create(session: Session, request: DatasetRequest, actor: str) -> JobRow:
    """Want an uploaded file as a data set.

    Raises:
        NotFound: `artifact.not_found`, `model.not_found`.
        Conflict: `dataset.exists`, `dataset.in_progress`, `model.no_signature`.
        Invalid: `dataset.no_import`, `dataset.too_large`, `dataset.several_inputs`.
    """
    if request.format == "safetensors":
        raise Invalid("dataset.no_import", "safetensors needs no import: POST /v1/datasets.")
    if get_artifact(session, request.sha256).size_bytes > MAX_DATASET_BYTES:
        raise Invalid("dataset.too_large", f"A data set has at most {MAX_DATASET_BYTES} bytes.")
    datasets.require_new(session, request.name)
    for other in jobs.list_open(session, kind=IMPORT, subject=request.name):
        raise Conflict("dataset.in_progress", f"Job {other.id} imports {request.name} now.", job_id=other.id)
    if request.model is not None:
        _of_model(session, request.model)
    spec = {"request": request.model_dump(mode="json")}
    return jobs.create(session, kind=IMPORT, subject=request.name, spec=spec, actor=actor)


def _prepare(session: Session, row: JobRow) -> Mapping[str, Any]:
    request = DatasetRequest.model_validate(row.spec["request"])
    spec: dict[str, Any] = {
        "source": request.sha256,
        "format": request.format,
        "label_column": request.label_column,
        "class_labels": request.class_labels,
        "preprocessing": [],
        "inputs": [],
    }
    if request.model is not None:
        spec.update(_of_model(session, request.model))
        spec["class_labels"] = request.class_labels or spec["class_labels"]
    known = _known(session, request)
    return spec if known is None else {**spec, "known": known}


def _of_model(session: Session, name: str) -> dict[str, Any]:
    model = get_model(session, name)
    signature = signature_of(model)
    if model.preprocessing and len(signature.inputs) > 1:
        raise Invalid("dataset.several_inputs", f"{name} takes several inputs; give tensors x.<input>.")
    return {
        "preprocessing": model.preprocessing,
        "inputs": msgspec.to_builtins(signature.inputs),
        "class_labels": model.class_labels,
    }


def _known(session: Session, request: DatasetRequest) -> dict[str, Any] | None:
    """Give what an attempt before this one made already."""
    try:
        row = datasets.get_dataset(session, request.name)
    except NotFound:
        return None
    if row.source_sha256 != request.sha256:
        return None
    return {"samples": row.samples, "tensors": row.tensors}


def _keep(session: Session, row: JobRow, made: Mapping[str, Any]) -> None:
    request = DatasetRequest.model_validate(row.spec["request"])
    record_artifact(session, made["sha256"], made["size_bytes"], row.id)
    figures = DatasetFigures(samples=made["samples"], tensors=made["tensors"], largest_label=made["largest_label"])
    datasets.create_dataset(session, request, figures, row.created_by, converted=made["sha256"])


KINDS: Final[Mapping[str, Kind]] = {
    IMPORT: Kind(function="controller.datasets.convert:convert", prepare=_prepare, keep=_keep)
}
