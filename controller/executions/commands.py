"""Commands: what an operator asks of devices once, an execution for each."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import service as artifacts
from controller.blobs import BlobStore
from controller.devices import service as devices
from controller.errors import Invalid, NotFound
from controller.executions import service as executions
from controller.executions.service import Work
from controller.executions.states import ExecutionState, Priority, is_end
from controller.executions.tables import CommandRow, ExecutionRow
from shoal.schemas.executions import Command, CommandRequest
from shoal.wire.commands import CommandName, CommandSpec
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import ExecutionKind

_SENT_TIMEOUT_S: Final = 30.0
_PROGRESS_TIMEOUT_S: Final = 300.0


def create(session: Session, request: CommandRequest, actor: str, now: datetime) -> CommandRow:
    """Ask devices for something; those that are away are asked when they come, until the request expires.

    Raises:
        NotFound: `device.not_found`.
        Invalid: What `devices.accept_selector` refuses.
    """
    selector = devices.accept_selector(session, request.selector)
    selected = devices.select_by(session, selector)
    row = CommandRow(name=request.name, selector=selector, created_by=actor, created_at=now)
    session.add(row)
    session.flush()
    wanted = CommandSpec(name=CommandName(request.name))
    if request.log_bytes is not None:
        wanted = msgspec.structs.replace(wanted, log_bytes=request.log_bytes)
    spec = msgspec.to_builtins(wanted)
    for device in selected:
        work = Work(
            kind=ExecutionKind.COMMAND,
            device_id=device.id,
            owner_id=row.id,
            spec=spec,
            sent_timeout_s=_SENT_TIMEOUT_S,
            progress_timeout_s=_PROGRESS_TIMEOUT_S,
            priority=Priority[request.priority.upper()],
            expires_in_s=request.expires_in_s,
        )
        executions.create(session, work)
    data = {"command": request.name, "devices": len(selected)}
    events.record(session, "command.created", subject=row.id, data=data)
    return row


def accept(
    session: Session, _blobs: BlobStore, execution: ExecutionRow, result: Mapping[str, Any], _now: datetime
) -> None:
    """Take a device's answer; one that sends its log names bytes that it has uploaded itself.

    Raises:
        Invalid: `log.malformed`, `log.too_large`, `log.not_its_own`.
        NotFound: `artifact.not_found`.
    """
    if execution.spec.get("name") != CommandName.COLLECT_LOGS:
        return
    try:
        log = msgspec.convert(result.get("log"), ArtifactRef)
        most_bytes = msgspec.convert(execution.spec, CommandSpec).log_bytes
    except msgspec.ValidationError as error:
        raise Invalid("log.malformed", f"The answer names no log: {error}") from error
    row = artifacts.get_artifact(session, log.sha256)
    if row.created_by != execution.device_id or row.size_bytes != log.size_bytes:
        raise Invalid("log.not_its_own", "The log that the answer names is not one that this device uploaded.")
    if row.size_bytes > most_bytes:
        raise Invalid("log.too_large", f"The log has {row.size_bytes} bytes; asked for were at most {most_bytes}.")


def log_of(session: Session, execution_id: str) -> str:
    """Give the digest of the log that a device sent.

    Raises:
        NotFound: `execution.not_found`, `execution.no_log`.
    """
    row = session.get(ExecutionRow, execution_id)
    if row is None:
        raise NotFound("execution.not_found", "There is no such execution.")
    if row.spec.get("name") != CommandName.COLLECT_LOGS or row.state != ExecutionState.SUCCEEDED:
        raise NotFound("execution.no_log", "This execution gave no log: only a collect_logs that has succeeded does.")
    return str(row.result["log"]["sha256"])


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
