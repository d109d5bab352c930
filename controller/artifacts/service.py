"""The room of what is made and shipped: artifacts, data sets, models, versions, variants and evaluations as rows.

Rows are immutable but for a version's state; making one again is either the same row (what jobs and devices do) or a
conflict (what people do). Not here: bytes (`blobs`), what an upload must be (`checks`, `formats`, `dataset_file`), what
depends on what (`controller.removal`), what nobody needs any more (`controller.collection`).
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts.datasets import create_dataset, get_dataset
from controller.artifacts.models import create_model, get_model, signature_of
from controller.artifacts.stored import get_artifact, record_artifact
from controller.artifacts.tables import EvaluationRow, VariantRow
from controller.artifacts.versions import (
    check_files,
    create_version,
    get_version,
    programs_of,
    ready_version,
    version_by_id,
)
from controller.db import utc_now
from controller.errors import NotFound

__all__ = [
    "add_variant",
    "check_files",
    "create_dataset",
    "create_model",
    "create_version",
    "find_evaluation",
    "get_artifact",
    "get_dataset",
    "get_model",
    "get_variant",
    "get_version",
    "list_variants",
    "programs_of",
    "ready_version",
    "record_artifact",
    "record_evaluation",
    "signature_of",
    "version_by_id",
]


def list_variants(session: Session, version_id: str) -> list[VariantRow]:
    """Give a version's variants, ordered by recipe and runtime."""
    query = select(VariantRow).where(VariantRow.version_id == version_id)
    return list(session.scalars(query.order_by(VariantRow.recipe, VariantRow.runtime)))


def get_variant(session: Session, variant_id: str) -> VariantRow:
    """Give a variant.

    Raises:
        NotFound: `variant.not_found`.
    """
    row = session.get(VariantRow, variant_id)
    if row is None:
        raise NotFound("variant.not_found", "There is no such variant.")
    return row


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
