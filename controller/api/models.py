"""`/v1/models`, `/v1/variants`: models and where they come from, their versions, the versions' variants."""

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Path
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller import audit, removal
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing, room
from controller.api.pagination import Wanted, page
from controller.artifacts import service
from controller.artifacts.lineage import VersionSource
from controller.artifacts.origins import origins
from controller.artifacts.tables import DatasetRow, EvaluationRow, ModelRow, VariantRow, VersionRow
from controller.auth.permissions import Permission, require
from controller.compression import inspection
from controller.errors import Invalid
from shoal.schemas.artifacts import (
    Evaluation,
    EvaluationRequest,
    Lineage,
    Model,
    ModelRequest,
    Variant,
    Version,
    VersionRequest,
)
from shoal.schemas.common import Page
from shoal.schemas.jobs import Job
from shoal.schemas.signatures import Signature

router = APIRouter(tags=["artifacts"])
# Opening one of these runs what is in it.
_CODE: Final = frozenset({"program", "torchscript", "ptl", "eim"})
Number = Annotated[int, Path(ge=1, le=2**53)]


@router.post("/models", status_code=201)
def create_model(body: ModelRequest, caller: Changer, session: Writing) -> Model:
    """Register a model."""
    row = service.create_model(session, body, caller.name)
    audit.note(session, actor=caller.name, action="model.create", subject=row.name)
    return _models(session, [row])[0]


@router.get("/models")
def list_models(_caller: Reader, session: Reading, window: Wanted) -> Page[Model]:
    """List models by name."""
    found = page(session, select(ModelRow), ModelRow.name, window, lambda row: row, is_newest_first=False)
    return Page(items=_models(session, found.items), next_cursor=found.next_cursor)


@router.get("/models/{model}")
def show_model(model: str, _caller: Reader, session: Reading) -> Model:
    """Show a model."""
    return _models(session, [service.get_model(session, model)])[0]


@router.delete("/models/{model}", status_code=204)
def delete_model(model: str, caller: Changer, session: Writing) -> None:
    """Delete a model; refused with the list while anything depends on it, its versions first of all."""
    removal.delete_model(session, model)
    audit.note(session, actor=caller.name, action="model.delete", subject=model)


@router.get("/models/{model}/lineage")
def show_lineage(model: str, _caller: Reader, session: Reading) -> Lineage:
    """Show where everything of a model comes from, as a graph."""
    return Lineage.model_validate(origins(session, model))


@router.post("/models/{model}/versions", status_code=201)
def create_version(model: str, body: VersionRequest, caller: Changer, parts: PartsOf) -> Version:
    """Give a model its next version, from artifacts that were uploaded before, and have it looked at in a job."""
    if body.format in _CODE:
        require(caller.role, Permission.UPLOAD_PROGRAM)
    files = {
        "train_program": body.train_program,
        "eval_program": body.eval_program,
        "weights": body.weights,
        "file": body.file,
    }
    with parts.database.reading() as session:
        service.get_model(session, model)
        service.check_files(session, parts.blobs, body.format, files)
    # Opened only now: looking at the bytes takes a while.
    with parts.database.transaction() as session:
        row = service.create_version(
            session,
            model=model,
            format=body.format,
            **files,
            source=VersionSource.UPLOADED,
            parent_id=None,
            lineage={"notes": body.notes} if body.notes else {},
            actor=caller.name,
        )
        inspection.start(session, row, caller.name)
        data = {"format": row.format}
        audit.note(session, actor=caller.name, action="version.create", subject=f"{model}/{row.number}", data=data)
        return _versions(session, [row])[0]


@router.get("/models/{model}/versions")
def list_versions(model: str, _caller: Reader, session: Reading, window: Wanted) -> Page[Version]:
    """List a model's versions, newest first."""
    service.get_model(session, model)
    query = select(VersionRow).where(VersionRow.model == model)
    found = page(session, query, VersionRow.id, window, lambda row: row)
    return Page(items=_versions(session, found.items), next_cursor=found.next_cursor)


@router.get("/models/{model}/versions/{number}")
def show_version(model: str, number: Number, _caller: Reader, session: Reading) -> Version:
    """Show a version with its lineage and evaluations."""
    return _versions(session, [service.get_version(session, model, number)])[0]


@router.delete("/models/{model}/versions/{number}", status_code=204)
def delete_version(model: str, number: Number, caller: Changer, session: Writing) -> None:
    """Delete a version; refused with the list while anything depends on it."""
    removal.delete_version(session, model, number)
    audit.note(session, actor=caller.name, action="version.delete", subject=f"{model}/{number}")


@router.post("/models/{model}/versions/{number}/inspections", status_code=202)
def create_inspection(model: str, number: Number, caller: Changer, session: Writing) -> Job:
    """Look once more at a version that was refused: what was missing may be there now."""
    version = service.get_version(session, model, number)
    if version.format in _CODE:
        require(caller.role, Permission.UPLOAD_PROGRAM)
    job = inspection.start_again(session, version, caller.name)
    audit.note(session, actor=caller.name, action="inspection.create", subject=f"{model}/{number}")
    return Job.model_validate(job)


@router.get("/models/{model}/versions/{number}/variants")
def list_variants(model: str, number: Number, _caller: Reader, session: Reading) -> Page[Variant]:
    """List all variants of a version."""
    version = service.get_version(session, model, number)
    variants = service.list_variants(session, version.id)
    return Page(items=[_variant(row, version) for row in variants], total=len(variants))


@router.get("/variants/{variant_id}")
def show_variant(variant_id: str, _caller: Reader, session: Reading) -> Variant:
    """Show a variant with its recipe, its lineage and all that was measured."""
    row = service.get_variant(session, variant_id)
    return _variant(row, service.version_by_id(session, row.version_id))


@router.delete("/variants/{variant_id}", status_code=204)
def delete_variant(variant_id: str, caller: Changer, session: Writing) -> None:
    """Delete a variant; refused with the list while anything depends on it."""
    removal.delete_variant(session, variant_id)
    audit.note(session, actor=caller.name, action="variant.delete", subject=variant_id)


@router.post("/models/{model}/versions/{number}/evaluations", status_code=202)
def create_evaluation(model: str, number: Number, body: EvaluationRequest, caller: Changer, session: Writing) -> Job:
    """Start a job that measures a version on a data set."""
    version = service.ready_version(session, model, number)
    if version.eval_program is None:
        message = f"{model}/{number} is a ready-made file: its variants are measured when they are made."
        raise Invalid("version.not_evaluable", message)
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
            signature=Signature.model_validate(row.signature) if row.signature else None,
            preprocessing=row.preprocessing,
            class_labels=row.class_labels,
            licence=row.licence,
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
    measured = [row.weights or row.file or "" for row in rows]
    evaluations: dict[str, list[Evaluation]] = {}
    for found, dataset in session.execute(
        select(EvaluationRow, DatasetRow.name)
        .join(DatasetRow, DatasetRow.id == EvaluationRow.dataset_id)
        .where(EvaluationRow.weights.in_(measured))
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
            format=row.format,
            state=row.state,
            code=row.code,
            message=row.message,
            inspection=row.inspection,
            train_program=row.train_program,
            eval_program=row.eval_program,
            weights=row.weights,
            file=row.file,
            parent=None if row.parent_id is None else parents.get(row.parent_id),
            lineage=row.lineage,
            evaluations=evaluations.get(row.weights or row.file or "", []),
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
        format=row.format,
        accuracy=row.accuracy,
        agreement=row.agreement,
        latency_p50_ms=row.latency_p50_ms,
        samples=row.samples,
        figures=row.figures,
        recipe_steps=row.recipe_steps,
        lineage=row.lineage,
        created_at=row.created_at,
    )
