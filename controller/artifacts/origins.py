"""Reads where everything of a model comes from; what the graph looks like is decided in `lineage`."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts.lineage import DatasetFacts, Graph, VariantFacts, VersionFacts, graph_of
from controller.artifacts.models import get_model
from controller.artifacts.tables import DatasetRow, EvaluationRow, VariantRow, VersionRow


def origins(session: Session, model: str) -> Graph:
    """Give the graph of a model's versions and variants, and of what made them.

    Raises:
        NotFound: `model.not_found`.
    """
    get_model(session, model)
    versions = list(session.scalars(select(VersionRow).where(VersionRow.model == model)))
    numbers = {row.id: row.number for row in versions}
    variants = session.scalars(
        select(VariantRow).join(VersionRow, VersionRow.id == VariantRow.version_id).where(VersionRow.model == model)
    )
    scores: dict[str, dict[str, float]] = {}
    measured = select(EvaluationRow.weights, DatasetRow.name, EvaluationRow.accuracy).join(
        DatasetRow, DatasetRow.id == EvaluationRow.dataset_id
    )
    for weights, dataset, accuracy in session.execute(measured.order_by(EvaluationRow.id)):
        scores.setdefault(weights, {})[f"accuracy on {dataset}"] = accuracy
    return graph_of(
        [
            VersionFacts(
                number=row.number,
                source=row.source,
                format=row.format,
                parent=numbers.get(row.parent_id or ""),
                lineage=row.lineage,
                figures=scores.get(row.weights or row.file or "", {}),
                created_at=row.created_at,
                created_by=row.created_by,
            )
            for row in versions
        ],
        [
            VariantFacts(
                id=row.id,
                version=numbers[row.version_id],
                recipe=row.recipe,
                runtime=row.runtime,
                job_id=row.job_id,
                lineage=row.lineage,
                figures={
                    "accuracy": row.accuracy,
                    "agreement": row.agreement,
                    "size_bytes": row.size_bytes,
                    "latency_p50_ms": row.latency_p50_ms,
                },
                created_at=row.created_at,
            )
            for row in variants
        ],
        [
            DatasetFacts(
                id=row.id,
                name=row.name,
                role=row.role,
                samples=row.samples,
                created_at=row.created_at,
                created_by=row.created_by,
            )
            for row in session.scalars(select(DatasetRow))
        ],
    )
