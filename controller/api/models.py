"""`/v1/models`: models, their versions, the versions' variants and evaluations."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, PartsOf, ProgramUploader, Reader, Reading, Writing, room
from controller.api.pagination import Wanted, page
from controller.artifacts import service
from controller.artifacts.lineage import VersionSource
from controller.artifacts.tables import DatasetRow, EvaluationRow, ModelRow, VariantRow, VersionRow
from shoal.schemas.artifacts import (
    Evaluation,
    EvaluationRequest,
    Model,
    ModelRequest,
    Variant,
    Version,
    VersionRequest,
)
from shoal.schemas.common import Page
from shoal.schemas.jobs import Job

router = APIRouter(prefix="/models", tags=["artifacts"])
Number = Annotated[int, Path(ge=1, le=2**53)]


@router.post("", status_code=201)
def create_model(body: ModelRequest, caller: Changer, session: Writing) -> Model:
    """Register a model."""
    row = service.create_model(session, body, caller.name)
    audit.note(session, actor=caller.name, action="model.create", subject=row.name)
    return _models(session, [row])[0]


@router.get("")
def list_models(_caller: Reader, session: Reading, window: Wanted) -> Page[Model]:
    """List models by name."""
    found = page(session, select(ModelRow), ModelRow.name, window, lambda row: row, is_newest_first=False)
    return Page(items=_models(session, found.items), next_cursor=found.next_cursor)


@router.get("/{model}")
def show_model(model: str, _caller: Reader, session: Reading) -> Model:
    """Show a model."""
    return _models(session, [service.get_model(session, model)])[0]


@router.post("/{model}/versions", status_code=201)
def create_version(
    model: str, body: VersionRequest, caller: ProgramUploader, session: Writing, parts: PartsOf
) -> Version:
    """Give a model its next version, from two exported programs and weights that were uploaded before."""
    row = service.create_version(
        session,
        model=model,
        train_program=body.train_program,
        eval_program=body.eval_program,
        weights=body.weights,
        source=VersionSource.UPLOADED,
        parent_id=None,
        lineage={"notes": body.notes} if body.notes else {},
        actor=caller.name,
        blobs=parts.blobs,
    )
    audit.note(session, actor=caller.name, action="version.create", subject=f"{model}/{row.number}")
    return _versions(session, [row])[0]


@router.get("/{model}/versions")
def list_versions(model: str, _caller: Reader, session: Reading, window: Wanted) -> Page[Version]:
    """List a model's versions, newest first."""
    service.get_model(session, model)
    query = select(VersionRow).where(VersionRow.model == model)
    found = page(session, query, VersionRow.id, window, lambda row: row)
    return Page(items=_versions(session, found.items), next_cursor=found.next_cursor)


@router.get("/{model}/versions/{number}")
def show_version(model: str, number: Number, _caller: Reader, session: Reading) -> Version:
    """Show a version with its lineage and evaluations."""
    return _versions(session, [service.get_version(session, model, number)])[0]


@router.get("/{model}/versions/{number}/variants")
def list_variants(model: str, number: Number, _caller: Reader, session: Reading) -> Page[Variant]:
    """List all variants of a version."""
    version = service.get_version(session, model, number)
    variants = service.list_variants(session, version.id)
    return Page(items=[_variant(row, version) for row in variants], total=len(variants))


@router.post("/{model}/versions/{number}/evaluations", status_code=202)
def create_evaluation(model: str, number: Number, body: EvaluationRequest, caller: Changer, session: Writing) -> Job:
    """Start a job that measures a version on a data set."""
    version = service.get_version(session, model, number)
    dataset = service.get_dataset(session, body.dataset)
    job = room("jobs").create(
        session,
        kind="evaluate",
        subject=f"{model}/{number}",
        spec={
            "weights": version.weights,
            "program": version.eval_program,
            "dataset": dataset.sha256,
            "dataset_id": dataset.id,
        },
        actor=caller.name,
    )
    audit.note(session, actor=caller.name, action="evaluation.create", subject=f"{model}/{number}")
    return Job.model_validate(job)


def _models(session: Session, rows: Sequence[ModelRow]) -> list[Model]:
    counted = session.execute(
        select(VersionRow.model, func.count())
        .where(VersionRow.model.in_([row.name for row in rows]))
        .group_by(VersionRow.model)
    )
    counts = {model: int(count) for model, count in counted}
    return [
        Model(
            name=row.name,
            task=row.task,
            input_shape=row.input_shape,
            class_labels=row.class_labels,
            versions=counts.get(row.name, 0),
            created_at=row.created_at,
        )
        for row in rows
    ]


def _versions(session: Session, rows: Sequence[VersionRow]) -> list[Version]:
    counted = session.execute(
        select(VariantRow.version_id, func.count())
        .where(VariantRow.version_id.in_([row.id for row in rows]))
        .group_by(VariantRow.version_id)
    )
    counts = {version_id: int(count) for version_id, count in counted}
    parents = {
        parent.id: parent.number
        for parent in session.scalars(select(VersionRow).where(VersionRow.id.in_([row.parent_id for row in rows])))
    }
    evaluations: dict[str, list[Evaluation]] = {}
    for found, dataset in session.execute(
        select(EvaluationRow, DatasetRow.name)
        .join(DatasetRow, DatasetRow.id == EvaluationRow.dataset_id)
        .where(EvaluationRow.weights.in_([row.weights for row in rows]))
        .order_by(EvaluationRow.id)
    ):
        evaluations.setdefault(found.weights, []).append(
            Evaluation(
                dataset=dataset,
                accuracy=found.accuracy,
                loss=found.loss,
                samples=found.samples,
                created_at=found.created_at,
            )
        )
    return [
        Version(
            id=row.id,
            model=row.model,
            number=row.number,
            source=row.source,
            train_program=row.train_program,
            eval_program=row.eval_program,
            weights=row.weights,
            parent=None if row.parent_id is None else parents.get(row.parent_id),
            lineage=row.lineage,
            evaluations=evaluations.get(row.weights, []),
            variants=counts.get(row.id, 0),
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in rows
    ]


def _variant(row: VariantRow, version: VersionRow) -> Variant:
    return Variant(
        id=row.id,
        model=version.model,
        version=version.number,
        recipe=row.recipe,
        runtime=row.runtime,
        sha256=row.sha256,
        golden_sha256=row.golden_sha256,
        size_bytes=row.size_bytes,
        accuracy=row.accuracy,
        agreement=row.agreement,
        latency_p50_ms=row.latency_p50_ms,
        samples=row.samples,
        created_at=row.created_at,
    )
