"""`/v1/executions`: each device's share of what the controller wants."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from controller.api.deps import Reader, Reading
from controller.api.pagination import Wanted, page
from controller.errors import NotFound
from controller.executions.states import ExecutionState
from controller.executions.tables import ExecutionRow
from shoal.schemas.common import Page
from shoal.schemas.executions import Execution
from shoal.wire.executions import ExecutionKind

router = APIRouter(prefix="/executions", tags=["executions"])


@router.get("")
def list_executions(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    device_id: Annotated[str | None, Query(max_length=64)] = None,
    owner_id: Annotated[str | None, Query(max_length=64)] = None,
    state: ExecutionState | None = None,
    kind: ExecutionKind | None = None,
) -> Page[Execution]:
    """List executions, newest first."""
    query = select(ExecutionRow)
    for column, wanted in (
        (ExecutionRow.device_id, device_id),
        (ExecutionRow.owner_id, owner_id),
        (ExecutionRow.state, state),
        (ExecutionRow.kind, kind),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    return page(session, query, ExecutionRow.id, window, Execution.model_validate)


@router.get("/{execution_id}")
def show_execution(execution_id: str, _caller: Reader, session: Reading) -> Execution:
    """Show an execution, and what it waits for."""
    row = session.get(ExecutionRow, execution_id)
    if row is None:
        raise NotFound("execution.not_found", "There is no such execution.")
    return Execution.model_validate(row)
