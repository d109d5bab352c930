"""`shoal datasets`: immutable rows with a role."""

from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from shoal.cli import files
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.artifacts import Dataset, DatasetRequest, DatasetRole

app = typer.Typer(no_args_is_help=True, help="Immutable rows with a role.")

_COLUMNS: Final = (
    Column[Dataset](title="Name", of=lambda dataset: dataset.name, is_long=True),
    Column[Dataset](title="Role", of=lambda dataset: dataset.role),
    Column[Dataset](title="Samples", of=lambda dataset: f"{dataset.samples:,}", is_number=True),
    Column[Dataset](title="Shape", of=lambda dataset: dataset.sample_shape),
    Column[Dataset](title="SHA-256", of=lambda dataset: dataset.sha256[:12]),
    Column[Dataset](title="Created", of=lambda dataset: dataset.created_at),
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help=".safetensors or .npz with x (samples first) and y (labels).")
    ],
    role: Annotated[str, typer.Option("--role", help="calibration, evaluation, training or golden.")],
    as_json: Json = False,
) -> None:
    """Upload a file and make it a data set."""
    DatasetRequest(name=name, role=cast(DatasetRole, role), sha256="0" * 64)  # a typo is told before the upload
    with connect() as client:
        sha256 = files.upload_dataset(client, path)
        made = client.datasets.create(DatasetRequest(name=name, role=cast(DatasetRole, role), sha256=sha256))
    show_item(made, _facts(made), as_json=as_json)


@app.command("list")
def list_datasets(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List data sets, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.datasets.list(limit=limit, cursor=cursor))
    empty = "No data sets yet: make one with `shoal datasets create NAME FILE --role evaluation`."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="Or its id.")], as_json: Json = False) -> None:
    """Show a data set."""
    with connect() as client:
        found = client.datasets.show(name)
    show_item(found, _facts(found), as_json=as_json)


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "Name": dataset.name,
        "Id": dataset.id,
        "Role": dataset.role,
        "Samples": f"{dataset.samples:,}",
        "Shape": dataset.sample_shape,
        "SHA-256": dataset.sha256,
        "Created": dataset.created_at,
    }
