"""`shoal executions`: one device's share of something that the controller wants."""

from typing import Annotated, Final

import typer

from shoal.cli import figures
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.executions import Execution

app = typer.Typer(no_args_is_help=True, help="One device's share of something wanted.")

_COLUMNS: Final = (
    Column[Execution](title="Execution", of=lambda execution: execution.id),
    Column[Execution](title="Kind", of=lambda execution: execution.kind),
    Column[Execution](title="Device", of=lambda execution: execution.device_id),
    Column[Execution](title="State", of=lambda execution: execution.state),
    Column[Execution](title="Waits for", of=lambda execution: execution.waiting_for.get("code"), is_optional=True),
    Column[Execution](title="Code", of=lambda execution: execution.code, is_optional=True),
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
def show(execution: Annotated[str, typer.Argument(metavar="EXECUTION")], as_json: Json = False) -> None:
    """Show an execution, and what it waits for."""
    with connect() as client:
        found = client.executions.show(execution)
    facts = {
        "Execution": found.id,
        "Kind": found.kind,
        "Device": found.device_id,
        "Owner": found.owner_id,
        "State": found.state,
        "Attempt": f"{found.attempt} of {found.max_attempts}",
        "Waits for": found.waiting_for,
        "Done": figures.percent(found.progress),
        "Code": found.code,
        "Message": found.message,
        "Result": found.result,
        "Deadline": found.deadline_at,
        "Created": found.created_at,
        "Updated": found.updated_at,
        "Finished": found.finished_at,
    }
    show_item(found, facts, as_json=as_json)
