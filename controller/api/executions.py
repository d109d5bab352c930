"""`/v1/executions`: each device's share of what the controller wants."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from controller import audit
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.errors import Conflict, NotFound
from controller.executions import commands
from controller.executions import service as executions
from controller.executions.states import ExecutionState, is_end
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


@router.get("/{execution_id}/log", response_class=StreamingResponse)
def show_log(execution_id: str, _caller: Reader, session: Reading, parts: PartsOf) -> StreamingResponse:
    """Give the log that a device sent for a `collect_logs`, as text."""
    sha256 = commands.log_of(session, execution_id)
    size = parts.blobs.size(sha256)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{sha256[:12]}.log"',
        "X-Content-Type-Options": "nosniff",  # a device's text shall not be taken for a page
    }
    return StreamingResponse(parts.blobs.stream(sha256, 0, size), 200, headers, "text/plain; charset=utf-8")


@router.post("/{execution_id}/cancel")
def cancel_execution(execution_id: str, caller: Changer, session: Writing) -> Execution:
    """Stop an execution; its device is told to forget it, and what wanted it goes on without it."""
    row = session.get(ExecutionRow, execution_id, with_for_update=True)
    if row is None:
        raise NotFound("execution.not_found", "There is no such execution.")
    if is_end(ExecutionState(row.state)):
        raise Conflict("execution.ended", f"This execution has {row.state} already.", state=row.state)
    executions.cancel(session, row, utc_now())
    audit.note(session, actor=caller.name, action="execution.cancel", subject=execution_id)
    return Execution.model_validate(row)
