"""Models as rows: a name, a task, and what it takes and gives. What it takes may be found out by its first version."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts.tables import ModelRow
from controller.db import utc_now
from controller.errors import Conflict, Invalid, NotFound
from shoal.schemas.artifacts import ModelRequest
from shoal.wire.models import Signature, Task

_LEAST_CLASSES: Final = 2
_SCORED_BY_CLASS: Final = (Task.CLASSIFICATION, Task.SEQUENCE)


def create_model(session: Session, request: ModelRequest, actor: str) -> ModelRow:
    """Register a model.

    Raises:
        Conflict: `model.exists`.
        Invalid: `model.bad_labels`, `model.bad_preprocessing`.
    """
    if session.get(ModelRow, request.name) is not None:
        raise Conflict("model.exists", f"There is a model {request.name} already.")
    if request.task is Task.CLASSIFICATION and len(request.class_labels) < _LEAST_CLASSES:
        raise Invalid("model.bad_labels", "A classification has at least two class_labels.")
    if len(set(request.class_labels)) < len(request.class_labels):
        raise Invalid("model.bad_labels", "Each class has a label of its own.")
    signature: dict[str, Any] = request.signature.model_dump(mode="json") if request.signature else {}
    if signature:
        check_signature(
            msgspec.convert(signature, Signature), request.task, request.class_labels, request.preprocessing
        )
    row = ModelRow(
        name=request.name,
        task=request.task.value,
        signature=signature,
        preprocessing=list(request.preprocessing),
        class_labels=list(request.class_labels),
        licence=request.licence,
        created_at=utc_now(),
        created_by=actor,
    )
    session.add(row)
    session.flush()
    events.record(session, "model.created", subject=row.name)
    return row


def get_model(session: Session, name: str) -> ModelRow:
    """Give a model.

    Raises:
        NotFound: `model.not_found`.
    """
    row = session.get(ModelRow, name)
    if row is None:
        raise NotFound("model.not_found", f"There is no model {name[:64]}.")
    return row


def signature_of(row: ModelRow) -> Signature:
    """Give what a model takes and gives.

    Raises:
        Conflict: `model.no_signature`, while no version of it was inspected.
    """
    if not row.signature:
        raise Conflict("model.no_signature", f"What {row.name} takes is not known until its first version is ready.")
    return msgspec.convert(row.signature, Signature)


def check_signature(signature: Signature, task: str, class_labels: Sequence[str], preprocessing: Sequence[Any]) -> None:
    """Check that a signature is one of a model that does this.

    Raises:
        Invalid: `model.bad_labels`, `model.bad_preprocessing`.
    """
    scores = signature.outputs[0]
    if task in _SCORED_BY_CLASS and class_labels and scores.shape[-1] not in (-1, len(class_labels)):
        message = f"{scores.name} gives {scores.shape[-1]} scores, and there are {len(class_labels)} class_labels."
        raise Invalid("model.bad_labels", message)
    if preprocessing and len(signature.inputs) > 1:
        raise Invalid("model.bad_preprocessing", "Raw data becomes one input; this model has several.")
