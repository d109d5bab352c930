"""`/v1/federated-runs`: devices learn together."""

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing, room
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.errors import NotFound
from controller.federated.tables import RunRow
from shoal.schemas.common import Page
from shoal.schemas.federated import FederatedRun, FederatedRunRequest

router = APIRouter(prefix="/federated-runs", tags=["federated"])


@router.post("", status_code=201)
def create_run(body: FederatedRunRequest, caller: Changer, session: Writing, parts: PartsOf) -> FederatedRun:
    """Start a federated run."""
    row = room("federated").create(session, parts.blobs, body, caller.name)
    audit.note(session, actor=caller.name, action="federated_run.create", subject=row.id)
    return _run(session, row)


@router.get("")
def list_runs(_caller: Reader, session: Reading, window: Wanted) -> Page[FederatedRun]:
    """List federated runs, newest first."""
    return page(session, select(RunRow), RunRow.id, window, lambda row: _run(session, row))


@router.get("/{run_id}")
def show_run(run_id: str, _caller: Reader, session: Reading) -> FederatedRun:
    """Show a federated run and its rounds."""
    return _run(session, _row(session, run_id))


@router.post("/{run_id}/cancel")
def cancel_run(run_id: str, caller: Changer, session: Writing) -> FederatedRun:
    """Stop a federated run; its closed rounds stay."""
    row = _row(session, run_id)
    room("federated").cancel(session, row, utc_now())
    audit.note(session, actor=caller.name, action="federated_run.cancel", subject=run_id)
    return _run(session, row)


def _row(session: Session, run_id: str) -> RunRow:
    row = session.get(RunRow, run_id)
    if row is None:
        raise NotFound("federated_run.not_found", "There is no such federated run.")
    return row


def _run(session: Session, row: RunRow) -> FederatedRun:
    run: FederatedRun = room("federated").summary(session, row)
    return run
