"""Artifacts, data sets, models, versions, variants and evaluations as rows. Rows are immutable; making one again is
either the same row (what jobs and devices do) or a conflict (what people do).

Not here: bytes (`blobs`), what an upload must be (`checks`), which variant a device gets (`variants`).
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import checks
from controller.artifacts.lineage import VersionSource
from controller.artifacts.tables import ArtifactRow, DatasetRow, EvaluationRow, ModelRow, VariantRow, VersionRow
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.errors import Conflict, Invalid, NotFound
from shoal.schemas.artifacts import DatasetRequest, ModelRequest


def record_artifact(session: Session, sha256: str, size_bytes: int, created_by: str) -> ArtifactRow:
    """Name bytes that are in the blob store; the same bytes again are the same row."""
    row = session.get(ArtifactRow, sha256)
    if row is None:
        row = ArtifactRow(sha256=sha256, size_bytes=size_bytes, created_at=utc_now(), created_by=created_by)
        session.add(row)
        session.flush()
    return row


def get_artifact(session: Session, sha256: str) -> ArtifactRow:
    """Give an artifact.

    Raises:
        NotFound: `artifact.not_found`.
    """
    row = session.get(ArtifactRow, sha256)
    if row is None:
        raise NotFound("artifact.not_found", f"There is no artifact {sha256[:64]}; upload it first.")
    return row


def create_dataset(session: Session, blobs: BlobStore, request: DatasetRequest, actor: str) -> DatasetRow:
    """Make an uploaded artifact a data set.

    Raises:
        NotFound: `artifact.not_found`.
        Conflict: `dataset.exists`.
        Invalid: `dataset.malformed`, `dataset.not_finite`, `artifact.too_large`.
    """
    if session.scalar(select(DatasetRow.id).where(DatasetRow.name == request.name)) is not None:
        raise Conflict("dataset.exists", f"There is a data set {request.name} already; they never change.")
    figures = checks.check_dataset(_read(session, blobs, request.sha256))
    row = DatasetRow(
        name=request.name,
        role=request.role,
        sha256=request.sha256,
        samples=figures.samples,
        sample_shape=list(figures.sample_shape),
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


def create_model(session: Session, request: ModelRequest, actor: str) -> ModelRow:
    """Register a model.

    Raises:
        Conflict: `model.exists`.
        Invalid: `model.bad_shape`.
    """
    if min(request.input_shape) < 1:
        raise Invalid("model.bad_shape", "Every axis of input_shape is at least 1; the batch axis is not one of them.")
    if session.get(ModelRow, request.name) is not None:
        raise Conflict("model.exists", f"There is a model {request.name} already.")
    row = ModelRow(
        name=request.name,
        task=request.task,
        input_shape=list(request.input_shape),
        class_labels=list(request.class_labels),
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


def create_version(
    session: Session,
    *,
    model: str,
    train_program: str,
    eval_program: str,
    weights: str,
    source: VersionSource,
    parent_id: str | None,
    lineage: Mapping[str, Any],
    actor: str,
    blobs: BlobStore | None = None,
) -> VersionRow:
    """Give a model its next version. What comes from outside (`uploaded`) is checked, so it needs `blobs`.

    Raises:
        NotFound: `model.not_found`, `artifact.not_found`.
        Invalid: `model.not_a_program`, `model.bad_weights`, `artifact.too_large`.
    """
    # The lock makes two at once count one after the other.
    if session.get(ModelRow, model, with_for_update=True) is None:
        raise NotFound("model.not_found", f"There is no model {model[:64]}.")
    for sha256 in (train_program, eval_program, weights):
        get_artifact(session, sha256)
    if source is VersionSource.UPLOADED:
        if blobs is None:
            raise ValueError("an uploaded version is checked, so it needs the blobs")
        checks.check_program(_read(session, blobs, train_program), "train")
        checks.check_program(_read(session, blobs, eval_program), "eval")
        checks.check_weights(_read(session, blobs, weights))
    latest = session.scalar(select(func.max(VersionRow.number)).where(VersionRow.model == model))
    row = VersionRow(
        model=model,
        number=(latest or 0) + 1,
        source=source.value,
        train_program=train_program,
        eval_program=eval_program,
        weights=weights,
        parent_id=parent_id,
        lineage=dict(lineage),
        created_at=utc_now(),
        created_by=actor,
    )
    session.add(row)
    session.flush()
    events.record(session, "version.created", subject=f"{row.model}/{row.number}", data={"source": row.source})
    return row


def get_version(session: Session, model: str, number: int) -> VersionRow:
    """Give a version by its number within its model.

    Raises:
        NotFound: `version.not_found`.
    """
    row = session.scalar(select(VersionRow).where(VersionRow.model == model, VersionRow.number == number))
    if row is None:
        raise NotFound("version.not_found", f"There is no version {number} of {model[:64]}.")
    return row


def version_by_id(session: Session, version_id: str) -> VersionRow:
    """Give a version by its id.

    Raises:
        NotFound: `version.not_found`.
    """
    row = session.get(VersionRow, version_id)
    if row is None:
        raise NotFound("version.not_found", "There is no such version.")
    return row


def list_variants(session: Session, version_id: str) -> list[VariantRow]:
    """Give a version's variants, ordered by recipe and runtime."""
    query = select(VariantRow).where(VariantRow.version_id == version_id)
    return list(session.scalars(query.order_by(VariantRow.recipe, VariantRow.runtime)))


def add_variant(session: Session, **columns: Any) -> VariantRow:
    """Keep a variant; the same version, recipe and runtime again (a repeated job) is the row that is there."""
    same = {name: columns[name] for name in ("version_id", "recipe", "runtime")}
    row = session.scalar(select(VariantRow).filter_by(**same))
    if row is None:
        row = VariantRow(**columns, created_at=utc_now())
        session.add(row)
        session.flush()
        events.record(session, "variant.created", subject=row.id, data=same)
    return row


def record_evaluation(
    session: Session, *, weights: str, dataset_id: str, accuracy: float, loss: float, samples: int, job_id: str
) -> EvaluationRow:
    """Keep how good weights are on a data set; measured again (a repeated job), the first figures stay."""
    row = find_evaluation(session, weights, dataset_id)
    if row is None:
        row = EvaluationRow(
            weights=weights,
            dataset_id=dataset_id,
            accuracy=accuracy,
            loss=loss,
            samples=samples,
            job_id=job_id,
            created_at=utc_now(),
        )
        session.add(row)
        session.flush()
    return row


def find_evaluation(session: Session, weights: str, dataset_id: str) -> EvaluationRow | None:
    """Give the figures of weights on a data set, None if they were not measured."""
    return session.scalar(
        select(EvaluationRow).where(EvaluationRow.weights == weights, EvaluationRow.dataset_id == dataset_id)
    )


def _read(session: Session, blobs: BlobStore, sha256: str) -> bytes:
    if get_artifact(session, sha256).size_bytes > checks.MAX_TENSOR_FILE_BYTES:
        raise Invalid("artifact.too_large", f"This may have at most {checks.MAX_TENSOR_FILE_BYTES} bytes.")
    return blobs.read(sha256)
