"""`shoal groups`: saved selectors, whose members follow from what happens to devices."""

from typing import Annotated, Final

import typer

from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_done, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.groups import Group, GroupChange, GroupRequest

app = typer.Typer(no_args_is_help=True, help="Saved selectors.")
Name = Annotated[str, typer.Argument(metavar="NAME")]

_COLUMNS: Final = (
    Column[Group](title="Group", of=lambda group: group.name),
    Column[Group](title="Devices", of=lambda group: group.devices, is_number=True),
    Column[Group](title="Online", of=lambda group: group.online, is_number=True),
    Column[Group](title="Selector", of=lambda group: group.selector, is_long=True),
    Column[Group](title="Description", of=lambda group: group.description, is_long=True, is_optional=True),
)


@app.command()
def create(
    name: Name,
    selector: Annotated[str, typer.Option("--selector", metavar="TEXT", help="Such as 'labels.site == \"lyon\"'.")],
    description: Annotated[str, typer.Option("--description")] = "",
    as_json: Json = False,
) -> None:
    """Save a selector under a name."""
    with connect() as client:
        made = client.groups.create(GroupRequest(name=name, selector=selector, description=description))
    _show(made, as_json=as_json)


@app.command("list")
def list_groups(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List groups by name."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.groups.list(limit=limit, cursor=cursor),
        )
    show_page(page, _COLUMNS, empty="No groups yet: save one with `shoal groups create`.", as_json=as_json)


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a group; `shoal devices list --selector 'group == "NAME"'` lists its devices."""
    with connect() as client:
        _show(client.groups.show(name), as_json=as_json)


@app.command()
def change(
    name: Name,
    selector: Annotated[str | None, typer.Option("--selector", metavar="TEXT", help="Its new selector.")] = None,
    description: Annotated[str | None, typer.Option("--description")] = None,
    as_json: Json = False,
) -> None:
    """Change a group's selector or description; its members follow at once."""
    with connect() as client:
        _show(client.groups.change(name, GroupChange(selector=selector, description=description)), as_json=as_json)


@app.command()
def delete(name: Name, as_json: Json = False) -> None:
    """Delete a group; its devices stay as they are."""
    with connect() as client:
        client.groups.delete(name)
    show_done(f"Deleted the group {name}.", {"name": name, "deleted": True}, as_json=as_json)


def _show(group: Group, *, as_json: bool) -> None:
    facts = {
        "Group": group.name,
        "Selector": group.selector,
        **({"Description": group.description} if group.description else {}),
        "Devices": f"{group.devices}, {group.online} online",
        "Made by": group.created_by,
        "Made": group.created_at,
        "Changed": group.updated_at,
    }
    show_item(group, facts, as_json=as_json)
