"""`shoal labels`: what operators call devices, changed for all that a selector means."""

from typing import Annotated

import typer

from shoal.cli.options import Json, ToAll, ToDevices, ToSelector, parse_labels, parse_selector
from shoal.cli.output import show_item
from shoal.cli.session import connect
from shoal.schemas.groups import LabelEdit, LabelEditResult

app = typer.Typer(no_args_is_help=True, help="Labels of many devices at once.")

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Give them this label; may be repeated.")
]
Remove = Annotated[list[str] | None, typer.Option("--remove", metavar="NAME", help="Take this label; may be repeated.")]


@app.command()
def preview(
    to_all: ToAll = False,
    devices: ToDevices = None,
    selector: ToSelector = None,
    given: Set = None,
    removed: Remove = None,
    as_json: Json = False,
) -> None:
    """Say how many devices an edit would change, and change nothing."""
    edit = _edit(parse_selector(to_all, devices, None, selector), given, removed, None)
    with connect() as client:
        _show(client.labels.preview(edit), "Would change", as_json=as_json)


@app.command("apply")
def apply_edit(
    to_all: ToAll = False,
    devices: ToDevices = None,
    selector: ToSelector = None,
    given: Set = None,
    removed: Remove = None,
    expected: Annotated[
        int | None, typer.Option("--expected", min=0, help="Refuse if another number of devices would change.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the labels of all devices that are meant, all or none."""
    edit = _edit(parse_selector(to_all, devices, None, selector), given, removed, expected)
    with connect() as client:
        _show(client.labels.apply(edit), "Changed", as_json=as_json)


def _edit(selector: str, given: list[str] | None, removed: list[str] | None, expected: int | None) -> LabelEdit:
    return LabelEdit(selector=selector, set=parse_labels(given), remove=removed or [], expected=expected)


def _show(result: LabelEditResult, title: str, *, as_json: bool) -> None:
    show_item(result, {"Matched": result.matched, title: result.changed, "Such as": result.examples}, as_json=as_json)
