"""`shoal executions`: one device's share of something that the controller wants."""

import codecs
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli.files import write_whole
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.executions import Execution
from shoal.schemas.waiting import waiting

app = typer.Typer(no_args_is_help=True, help="One device's share of something wanted.")
ExecutionId = Annotated[str, typer.Argument(metavar="EXECUTION")]
_PRIORITIES: Final = {10: "low", 20: "normal", 30: "high"}

_COLUMNS: Final = (
    Column[Execution](title="Execution", of=lambda execution: execution.id),
    Column[Execution](title="Kind", of=lambda execution: execution.kind),
    Column[Execution](title="Device", of=lambda execution: execution.device_id),
    Column[Execution](title="State", of=lambda execution: execution.state),
    Column[Execution](
        title="Waits for",
        of=lambda execution: waiting(execution.waiting_for, datetime.now(UTC)),
        is_long=True,
        is_optional=True,
    ),
    Column[Execution](title="Code", of=lambda execution: execution.code, is_optional=True),
    Column[Execution](title="Attempt", of=lambda execution: attempt(execution), is_number=True),
    Column[Execution](title="Priority", of=lambda execution: priority(execution)),
    Column[Execution](
        title="Expires",
        of=lambda execution: None if execution.finished_at else execution.expires_at,
        is_optional=True,
    ),
    Column[Execution](title="Updated", of=lambda execution: execution.updated_at),
)


@app.command("list")
def list_executions(
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Only this device's.")] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="ID", help="Only those of this rollout or run.")
    ] = None,
    state: Annotated[str | None, typer.Option("--state", help="Only those in this state.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List executions, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.executions.list(
                device_id=device, owner_id=owner, state=state, kind=kind, limit=limit, cursor=cursor
            )
        )
    is_filtered = device or owner or state or kind
    empty = (
        "No execution is like that." if is_filtered else "No executions yet: a rollout or a federated run makes them."
    )
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def show(execution: ExecutionId, as_json: Json = False) -> None:
    """Show an execution, and what it waits for."""
    with connect() as client:
        found = client.executions.show(execution)
    show_item(found, _facts(found), as_json=as_json)


@app.command()
def log(
    execution: ExecutionId,
    output: Annotated[Path | None, typer.Option("--output", help="Where to; without it, standard output.")] = None,
) -> None:
    """Read the log that a device sent for `shoal commands send collect-logs`."""
    with connect() as client:
        pieces = client.executions.log(execution)
        if output is not None:
            write_whole(output, pieces)
        elif sys.stdout.isatty():
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            for piece in pieces:
                sys.stdout.write(figures.printable(decoder.decode(piece)))
        else:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
        sys.stdout.flush()


@app.command()
def cancel(execution: ExecutionId, as_json: Json = False) -> None:
    """Stop an execution; a rollout or a round goes on without it."""
    with connect() as client:
        found = client.executions.cancel(execution)
    show_item(found, _facts(found), as_json=as_json)


def attempt(execution: Execution) -> str:
    """Say which of its attempts an execution is at; it has none before it was sent."""
    return f"{execution.attempt} of {execution.max_attempts}"


def priority(execution: Execution) -> str:
    """Say an execution's priority."""
    return _PRIORITIES.get(execution.priority, str(execution.priority))


def _facts(found: Execution) -> dict[str, Any]:
    return {
        "Execution": found.id,
        "Kind": found.kind,
        "Device": found.device_id,
        "Owner": found.owner_id,
        "State": found.state,
        "Waits for": waiting(found.waiting_for, datetime.now(UTC)),
        "Attempt": attempt(found),
        "Priority": priority(found),
        "Done": figures.percent(found.progress),
        "Code": found.code,
        "Message": found.message,
        "Result": found.result,
        "Deadline": found.deadline_at,
        "Expires": None if found.finished_at else found.expires_at,
        "Created": found.created_at,
        "Updated": found.updated_at,
        "Finished": found.finished_at,
    }
