"""Data sets as rows: immutable, named, with a role; checked before against what a model takes.

Not here: what their file must be (`dataset_file`), how other formats become it (`controller.datasets`).
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import dataset_file
from controller.artifacts.dataset_file import DatasetFigures
from controller.artifacts.lineage import DatasetRole
from controller.artifacts.models import get_model, signature_of
from controller.artifacts.stored import get_artifact
from controller.artifacts.tables import DatasetRow, ModelRow
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.errors import Conflict, Invalid, NotFound
from shoal.schemas.artifacts import DatasetRequest
from shoal.wire.models import Signature, Task

MIN_CALIBRATION: Final = 8  # fewer tell nothing of how values are spread
_NEEDS_LABELS: Final = frozenset({DatasetRole.EVALUATION, DatasetRole.TRAINING})


def examine_blob(blobs: BlobStore, sha256: str, size_bytes: int) -> DatasetFigures:
    """Look at a data set's bytes piece by piece; takes a while, so no transaction is open meanwhile.

    Raises:
        NotFound: `artifact.not_found`.
        Invalid: `dataset.malformed`, `dataset.not_finite`, `dataset.too_large`, `dataset.pickled`.
    """
    return dataset_file.examine(lambda start, end: b"".join(blobs.stream(sha256, start, end)), size_bytes)


def require_new(session: Session, name: str) -> None:
    """Refuse a name that is taken.

    Raises:
        Conflict: `dataset.exists`.
    """
    if session.scalar(select(DatasetRow.id).where(DatasetRow.name == name)) is not None:
        raise Conflict("dataset.exists", f"There is a data set {name} already; they never change.")


def create_dataset(
    session: Session, request: DatasetRequest, figures: DatasetFigures, actor: str, *, converted: str | None = None
) -> DatasetRow:
    """Make bytes that were looked at a data set.

    Args:
        converted: What the uploaded bytes became; None: they are a data set's file as they are.

    Raises:
        NotFound: `artifact.not_found`, `model.not_found`.
        Conflict: `dataset.exists`, `model.no_signature`.
        Invalid: `dataset.too_few`, `dataset.no_labels`, `dataset.shape_mismatch`, `dataset.bad_labels`.
    """
    require_new(session, request.name)
    get_artifact(session, request.sha256)
    _require_role(request.role, figures)
    if request.model is not None:
        _require_fit(get_model(session, request.model), figures)
    row = DatasetRow(
        name=request.name,
        role=request.role,
        sha256=converted or request.sha256,
        samples=figures.samples,
        tensors=figures.tensors,
        format=request.format,
        source_sha256=None if converted is None else request.sha256,
        created_at=utc_now(),
        created_by=actor,
    )
    session.add(row)
    session.flush()
    events.record(session, "dataset.created", subject=row.name, data={"samples": row.samples})
    return row


def get_dataset(session: Session, name_or_id: str) -> DatasetRow:
    """Give a data set by its name or id.

    Raises:
        NotFound: `dataset.not_found`.
    """
    row = session.scalar(select(DatasetRow).where(DatasetRow.name == name_or_id)) or session.get(DatasetRow, name_or_id)
    if row is None:
        raise NotFound("dataset.not_found", f"There is no data set {name_or_id[:64]}.")
    return row


def fitting_dataset(session: Session, model: ModelRow, name: str) -> DatasetRow:
    """Give a data set whose samples are inputs of a model.

    Raises:
        NotFound: `dataset.not_found`.
        Conflict: `model.no_signature`.
        Invalid: `dataset.shape_mismatch`.
    """
    dataset = get_dataset(session, name)
    if reason := misfit(signature_of(model), dataset.tensors):
        raise Invalid("dataset.shape_mismatch", f"{name} does not fit {model.name}: {reason}")
    return dataset


def misfit(signature: Signature, tensors: Mapping[str, Any]) -> str:
    """Say why samples are no inputs of a model; empty where they are.

    Args:
        tensors: Of a data set: {name: {datatype, shape of one sample}}.

    >>> from shoal.wire.models import TensorSpec, Datatype
    >>> one = TensorSpec(name="input", datatype=Datatype.FP32, shape=[-1, 8, 8])
    >>> misfit(Signature(inputs=[one], outputs=[one]), {"x": {"datatype": "FP32", "shape": [9, 8]}})
    'x is FP32 [9, 8] a sample, and input takes FP32 [8, 8].'
    """
    expected = {"x" if len(signature.inputs) == 1 else f"x.{one.name}": one for one in signature.inputs}
    if strange := sorted(name for name in tensors if name.partition(".")[0] == "x" and name not in expected):
        return f"it has {', '.join(strange)}, and the model takes {', '.join(sorted(expected))}."
    for name, wanted in expected.items():
        if name not in tensors:
            return f"it lacks {name}."
        datatype, shape = tensors[name]["datatype"], list(tensors[name]["shape"])
        takes = wanted.shape[1:]
        is_same = len(shape) == len(takes) and all(axis in (-1, size) for axis, size in zip(takes, shape, strict=True))
        if datatype != wanted.datatype or not is_same:
            return f"{name} is {datatype} {shape} a sample, and {wanted.name} takes {wanted.datatype.value} {takes}."
    return ""


def _require_role(role: str, figures: DatasetFigures) -> None:
    if role == DatasetRole.CALIBRATION and figures.samples < MIN_CALIBRATION:
        message = f"Calibration needs {MIN_CALIBRATION} samples at least; this has {figures.samples}."
        raise Invalid("dataset.too_few", message)
    if role in _NEEDS_LABELS and not any(name.partition(".")[0] == "y" for name in figures.tensors):
        raise Invalid("dataset.no_labels", f"For {role} it has to say what is expected, as y; it does not.")


def _require_fit(model: ModelRow, figures: DatasetFigures) -> None:
    if reason := misfit(signature_of(model), figures.tensors):
        raise Invalid("dataset.shape_mismatch", f"The samples do not fit {model.name}: {reason}")
    classes = len(model.class_labels)
    if model.task == Task.CLASSIFICATION and classes and (figures.largest_label or 0) >= classes:
        message = f"y has the label {figures.largest_label}, and {model.name} knows 0 to {classes - 1}."
        raise Invalid("dataset.bad_labels", message)
