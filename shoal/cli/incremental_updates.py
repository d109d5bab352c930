"""`shoal incremental-updates`: what devices learned alone."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_page
from shoal.cli.session import connect
from shoal.schemas.incremental import IncrementalUpdate

app = typer.Typer(no_args_is_help=True, help="What devices learned alone.")

_COLUMNS: Final = (
    Column[IncrementalUpdate](title="Update", of=lambda update: update.id),
    Column[IncrementalUpdate](title="Device", of=lambda update: update.device_id),
    Column[IncrementalUpdate](title="Base", of=lambda update: f"{update.model}/{update.base_version}"),
    Column[IncrementalUpdate](title="State", of=lambda update: update.state),
    Column[IncrementalUpdate](title="New data", of=lambda update: _change(update.result, "new")),
    Column[IncrementalUpdate](title="Old data", of=lambda update: _change(update.result, "old")),
    Column[IncrementalUpdate](title="Message", of=lambda update: update.message, is_long=True, is_optional=True),
    Column[IncrementalUpdate](title="Created", of=lambda update: update.created_at),
)


@app.command("list")
def list_updates(
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Only this device's.")] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List updates, newest first, with the accuracies that the device measured before and after."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.incremental_updates.list(device_id=device, limit=limit, cursor=cursor)
        )
    empty = "No updates yet: a device that has a policy begins one when it notices drift."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


def _change(result: dict[str, Any], kind: str) -> str | None:
    before, after = result.get(f"{kind}_before"), result.get(f"{kind}_after")
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return None
    return f"{figures.percent(before)} -> {figures.percent(after)}"
