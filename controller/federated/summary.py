"""A run as operators see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.tables import EvaluationRow
from controller.federated.rounds import RoundState
from controller.federated.tables import RoundRow, RunRow, UpdateRow
from shoal.schemas.federated import FederatedRun, Round


def summary(session: Session, run: RunRow) -> FederatedRun:
    """Give a run with its rounds."""
    base = artifacts.version_by_id(session, run.base_version_id)
    made = None if run.result_version_id is None else artifacts.version_by_id(session, run.result_version_id)
    rows = list(session.scalars(select(RoundRow).where(RoundRow.run_id == run.id).order_by(RoundRow.number)))
    weights = [base.weights or "", *(row.result for row in rows if row.result is not None)]
    measured = {
        found.weights: found.accuracy
        for found in session.scalars(
            select(EvaluationRow).where(
                EvaluationRow.dataset_id == run.evaluation_dataset_id, EvaluationRow.weights.in_(weights)
            )
        )
    }
    figures = _figures(session, [row.id for row in rows])
    shown = [_round(row, figures.get(row.id, _NO_FIGURES), measured.get(row.result or "")) for row in rows]
    return FederatedRun(
        id=run.id,
        model=base.model,
        base_version=base.number,
        result_version=None if made is None else made.number,
        state=run.state,
        rounds_total=run.rounds_total,
        rounds_closed=sum(row.state == RoundState.CLOSED for row in rows),
        baseline_accuracy=measured.get(base.weights or ""),
        accuracy=next((one.accuracy for one in reversed(shown) if one.accuracy is not None), None),
        message=run.message,
        created_by=run.created_by,
        created_at=run.created_at,
        finished_at=run.finished_at,
        rounds=shown,
    )


@dataclass(frozen=True)
class _Figures:
    updates: int
    examples: int
    loss: float | None


_NO_FIGURES: Final = _Figures(0, 0, None)


def _figures(session: Session, round_ids: Sequence[str]) -> dict[str, _Figures]:
    query = (
        select(
            UpdateRow.round_id,
            func.count(),
            func.sum(UpdateRow.examples),
            func.sum(UpdateRow.loss * UpdateRow.examples),
        )
        .where(UpdateRow.round_id.in_(round_ids))
        .group_by(UpdateRow.round_id)
    )
    return {
        round_id: _Figures(int(count), int(examples), float(loss) / int(examples))
        for round_id, count, examples, loss in session.execute(query)
    }


def _round(row: RoundRow, figures: _Figures, accuracy: float | None) -> Round:
    shown: dict[str, Any] = {
        name: getattr(row, name) for name in ("number", "state", "message", "started_at", "closed_at")
    }
    return Round(
        **shown,
        cohort=len(row.cohort),
        updates=figures.updates,
        examples=figures.examples,
        loss=figures.loss,
        accuracy=accuracy,
        duration_s=None if row.closed_at is None else (row.closed_at - row.started_at).total_seconds(),
    )
