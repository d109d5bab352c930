"""`shoal models`."""

from typing import Annotated, Any, Final

import typer

from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.artifacts import Model, ModelRequest

app = typer.Typer(no_args_is_help=True, help="The registered models.")

_COLUMNS: Final = (
    Column[Model](title="Model", of=lambda model: model.name),
    Column[Model](title="Task", of=lambda model: model.task),
    Column[Model](title="Versions", of=lambda model: model.versions, is_number=True),
    Column[Model](title="Input", of=lambda model: model.input_shape),
    Column[Model](title="Classes", of=lambda model: len(model.class_labels), is_number=True),
    Column[Model](title="Created", of=lambda model: model.created_at),
)


@app.command("list")
def list_models(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List models by name."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.models.list(limit=limit, cursor=cursor))
    show_page(page, _COLUMNS, empty="No models yet: register one with `shoal models create`.", as_json=as_json)


@app.command()
def show(model: Annotated[str, typer.Argument(metavar="MODEL")], as_json: Json = False) -> None:
    """Show a model."""
    with connect() as client:
        found = client.models.show(model)
    show_item(found, _facts(found), as_json=as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    size: Annotated[
        list[int], typer.Option("--input", min=1, help="A side of a sample's shape; repeated: --input 8 --input 8.")
    ],
    class_label: Annotated[list[str], typer.Option("--class", help="A class's label, in order; at least two.")],
    as_json: Json = False,
) -> None:
    """Register a model."""
    request = ModelRequest(name=name, input_shape=size, class_labels=class_label)
    with connect() as client:
        made = client.models.create(request)
    show_item(made, _facts(made), as_json=as_json)


def _facts(model: Model) -> dict[str, Any]:
    return {
        "Model": model.name,
        "Task": model.task,
        "Input": model.input_shape,
        "Classes": model.class_labels,
        "Versions": model.versions,
        "Created": model.created_at,
    }
