"""Commands: what an operator asks of devices once, an execution for each."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller import events
from controller.devices import service as devices
from controller.errors import NotFound
from controller.executions import service as executions
from controller.executions.service import Work
from controller.executions.states import ExecutionState, Priority, is_end
from controller.executions.tables import CommandRow, ExecutionRow
from shoal.schemas.executions import Command, CommandRequest
from shoal.wire.commands import CommandName
from shoal.wire.executions import ExecutionKind

_SENT_TIMEOUT_S: Final = 30.0
_PROGRESS_TIMEOUT_S: Final = 300.0


def create(session: Session, request: CommandRequest, actor: str, now: datetime) -> CommandRow:
    """Ask devices for something; those that are away are asked when they come, until the request expires.

    Raises:
        NotFound: `device.not_found`.
        Invalid: `selector.ambiguous`.
    """
    selected = devices.select_by(session, request.selector.model_dump())
    row = CommandRow(name=request.name, selector=request.selector.model_dump(), created_by=actor, created_at=now)
    session.add(row)
    session.flush()
    for device in selected:
        work = Work(
            kind=ExecutionKind.COMMAND,
            device_id=device.id,
            owner_id=row.id,
            spec={"name": CommandName(request.name).value},
            sent_timeout_s=_SENT_TIMEOUT_S,
            progress_timeout_s=_PROGRESS_TIMEOUT_S,
            priority=Priority[request.priority.upper()],
            expires_in_s=request.expires_in_s,
        )
        executions.create(session, work)
    data = {"command": request.name, "devices": len(selected)}
    events.record(session, "command.created", subject=row.id, data=data)
    return row


def get(session: Session, command_id: str) -> CommandRow:
    """Give a command.

    Raises:
        NotFound: `command.not_found`.
    """
    row = session.get(CommandRow, command_id)
    if row is None:
        raise NotFound("command.not_found", "There is no such command.")
    return row


def cancel(session: Session, row: CommandRow, now: datetime) -> None:
    """Stop what is open of a command."""
    open_states = [state for state in ExecutionState if not is_end(state)]
    query = select(ExecutionRow).where(ExecutionRow.owner_id == row.id, ExecutionRow.state.in_(open_states))
    # Those that are not sent yet go first, so that ending one does not send the next.
    for execution in session.scalars(query.order_by(ExecutionRow.attempt).with_for_update()).all():
        executions.cancel(session, execution, now)


def summaries(session: Session, rows: Mapping[str, CommandRow]) -> list[Command]:
    """Give commands with how many of their executions are in each state."""
    counts: dict[str, Counter[str]] = {command_id: Counter() for command_id in rows}
    query = select(ExecutionRow.owner_id, ExecutionRow.state, func.count()).where(ExecutionRow.owner_id.in_(rows))
    for command_id, state, count in session.execute(query.group_by(ExecutionRow.owner_id, ExecutionRow.state)):
        counts[command_id][state] = int(count)
    return [
        Command(
            id=row.id,
            name=row.name,
            selector=row.selector,
            devices=counts[row.id].total(),
            counts=dict(counts[row.id]),
            is_done=all(is_end(ExecutionState(state)) for state in counts[row.id]),
            created_by=row.created_by,
            created_at=row.created_at,
        )
        for row in rows.values()
    ]
