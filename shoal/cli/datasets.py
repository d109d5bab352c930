"""`shoal datasets`: immutable rows with a role."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli import files
from shoal.cli import watch as watching
from shoal.cli.errors import CliError
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_done, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.signatures import parse_classes
from shoal.cli.watch import Bar
from shoal.client import Client
from shoal.schemas.artifacts import Dataset, DatasetFormat, DatasetRequest, DatasetRole
from shoal.schemas.jobs import Job

app = typer.Typer(no_args_is_help=True, help="Immutable rows with a role.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Or its id.")]

_FORMATS: Final[dict[str, DatasetFormat]] = {
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".zip": "images",
}
_COLUMNS: Final = (
    Column[Dataset](title="Name", of=lambda dataset: dataset.name, is_long=True),
    Column[Dataset](title="Role", of=lambda dataset: dataset.role),
    Column[Dataset](title="Samples", of=lambda dataset: f"{dataset.samples:,}", is_number=True),
    Column[Dataset](title="A sample", of=lambda dataset: _tensors(dataset), is_long=True),
    Column[Dataset](title="Came as", of=lambda dataset: dataset.format),
    Column[Dataset](title="SHA-256", of=lambda dataset: dataset.sha256[:12]),
    Column[Dataset](title="Created", of=lambda dataset: dataset.created_at),
)


@app.command()
def create(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".safetensors or .npz with x (samples first) and y; .parquet with a column for each feature; "
            ".zip with a folder of images for each class.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the data set.")],
    role: Annotated[DatasetRole, typer.Option("--role", help="What it is for.")],
    format: Annotated[
        DatasetFormat | None, typer.Option("--format", help="Where the file's name does not say it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The samples must fit it; images are prepared as it declares."),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", metavar="COLUMN", help="Of a Parquet file: what is expected.")
    ] = None,
    class_labels: Annotated[
        str | None,
        typer.Option("--class-labels", metavar="LABELS", help="In order, as a,b,c; or @FILE with one a line."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Upload a file and make it a data set; waits for the job that converts what is no safetensors."""
    wanted = {
        "name": name,
        "role": role,
        "format": format or _format_of(path),
        "model": model,
        "label_column": label_column,
        "class_labels": parse_classes(class_labels),
    }
    DatasetRequest.model_validate({**wanted, "sha256": "0" * 64})  # a typo is told before the upload
    with connect() as client:
        sha256 = files.upload(client, path, is_quiet=as_json)
        made = _make(client, DatasetRequest.model_validate({**wanted, "sha256": sha256}), is_quiet=as_json)
    show_item(made, _facts(made), as_json=as_json)


@app.command("list")
def list_datasets(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List data sets, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.datasets.list(limit=limit, cursor=cursor))
    empty = "No data sets yet: make one with `shoal datasets create FILE --name NAME --role evaluation`."
    show_page(page, _COLUMNS, empty=empty, as_json=as_json)


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a data set."""
    with connect() as client:
        found = client.datasets.show(name)
    show_item(found, _facts(found), as_json=as_json)


@app.command()
def delete(name: Name, as_json: Json = False) -> None:
    """Delete a data set; refused while anything depends on it."""
    with connect() as client:
        client.datasets.delete(name)
    show_done(f"Deleted the data set {name}.", {"name": name, "deleted": True}, as_json=as_json)


def _make(client: Client, request: DatasetRequest, *, is_quiet: bool) -> Dataset:
    """Make an uploaded file a data set.

    Raises:
        CliError: The code of the job that converts it.
    """
    if request.format == "safetensors":
        return client.datasets.create(request)
    job = client.datasets.import_(request)
    job = watching.watch(lambda: client.jobs.show(job.id), _bars, is_quiet=is_quiet)
    if job.state != "succeeded":
        raise CliError(job.code or f"job.{job.state}", job.message or f"The job {job.id} ended as {job.state}.")
    return client.datasets.show(request.name)


def _bars(job: Job) -> list[Bar]:
    return [Bar(name=f"importing {job.subject}", share=job.progress, words=job.message or job.state)]


def _format_of(path: Path) -> DatasetFormat:
    """Give the format that a file's name says.

    >>> _format_of(Path("photos.ZIP"))
    'images'

    Raises:
        CliError: `dataset.unknown_format`.
    """
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        known = ", ".join(_FORMATS)
        raise CliError("dataset.unknown_format", f"{path} ends in none of {known}: say what it is with --format.")
    return found


def _tensors(dataset: Dataset) -> str:
    each = []
    for name, tensor in sorted(dataset.tensors.items()):
        shape = "x".join(map(str, tensor.shape))
        each.append(f"{name} {tensor.datatype} {shape}".rstrip())
    return ", ".join(each)


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        "Name": dataset.name,
        "Id": dataset.id,
        "Role": dataset.role,
        "Samples": f"{dataset.samples:,}",
        "A sample": _tensors(dataset),
        "Came as": dataset.format,
        "SHA-256": dataset.sha256,
        "Uploaded": dataset.source_sha256,
        "By": dataset.created_by,
        "Created": dataset.created_at,
    }
