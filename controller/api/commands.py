"""`/v1/commands`: ask devices for something once."""

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.executions import commands
from controller.executions.tables import CommandRow
from shoal.schemas.common import Page
from shoal.schemas.executions import Command, CommandRequest

router = APIRouter(prefix="/commands", tags=["executions"])


@router.post("", status_code=201)
def create_command(body: CommandRequest, caller: Changer, session: Writing) -> Command:
    """Ask active devices for something; those that are away are asked when they come."""
    row = commands.create(session, body, caller.name, utc_now())
    audit.note(session, actor=caller.name, action="command.create", subject=row.id, data={"name": row.name})
    return _shown(session, row)


@router.get("")
def list_commands(_caller: Reader, session: Reading, window: Wanted) -> Page[Command]:
    """List commands, newest first."""
    found = page(session, select(CommandRow), CommandRow.id, window, lambda row: row)
    shown = commands.summaries(session, {row.id: row for row in found.items})
    return Page(items=shown, next_cursor=found.next_cursor)


@router.get("/{command_id}")
def show_command(command_id: str, _caller: Reader, session: Reading) -> Command:
    """Show a command and how far its executions are; `/v1/executions?owner_id=` lists them."""
    return _shown(session, commands.get(session, command_id))


@router.post("/{command_id}/cancel")
def cancel_command(command_id: str, caller: Changer, session: Writing) -> Command:
    """Stop what is open of a command."""
    row = commands.get(session, command_id)
    commands.cancel(session, row, utc_now())
    audit.note(session, actor=caller.name, action="command.cancel", subject=command_id)
    session.flush()
    return _shown(session, row)


def _shown(session: Session, row: CommandRow) -> Command:
    (shown,) = commands.summaries(session, {row.id: row})
    return shown
