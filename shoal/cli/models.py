"""`shoal models`."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli import boards, files, fit, signatures, versions
from shoal.cli.lineage import tree_of
from shoal.cli.options import Cursor, Every, Json, Limit, Paging
from shoal.cli.output import Column, show_done, show_item, show_page, show_tree
from shoal.cli.session import connect
from shoal.cli.signatures import Classes, Inputs, InputShape, Licence, Outputs, PreprocessingFile
from shoal.schemas.artifacts import Model, ModelRequest, VersionRequest
from shoal.wire.models import Task

app = typer.Typer(no_args_is_help=True, help="The registered models.")
app.command("explain")(fit.explain)
app.command("demand")(fit.demand)
app.command("build")(fit.build)
app.add_typer(fit.policy_app, name="build-policy")
app.command("advise")(boards.advise)
ModelName = Annotated[str, typer.Argument(metavar="MODEL")]
TaskOption = Annotated[Task, typer.Option("--task", help="What it does; says how it is scored.")]

_COLUMNS: Final = (
    Column[Model](title="Model", of=lambda model: model.name),
    Column[Model](title="Task", of=lambda model: model.task),
    Column[Model](title="Versions", of=lambda model: model.versions, is_number=True),
    Column[Model](title="Inputs", of=lambda model: _tensors(model, "inputs"), is_long=True),
    Column[Model](title="Classes", of=lambda model: len(model.class_labels), is_number=True),
    Column[Model](title="Licence", of=lambda model: model.licence, is_optional=True),
    Column[Model](title="Created", of=lambda model: model.created_at),
)


@app.command("list")
def list_models(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List models by name."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.models.list(limit=limit, cursor=cursor))
    show_page(page, _COLUMNS, empty="No models yet: register one with `shoal models create`.", as_json=as_json)


@app.command()
def show(model: ModelName, as_json: Json = False) -> None:
    """Show a model: what it takes and gives, and what is done to raw data before."""
    with connect() as client:
        found = client.models.show(model)
    show_item(found, _facts(found), as_json=as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    task: TaskOption = Task.CLASSIFICATION,
    inputs: Inputs = None,
    outputs: Outputs = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    preprocessing: PreprocessingFile = None,
    licence: Licence = "",
    as_json: Json = False,
) -> None:
    """Register a model. Without inputs and outputs it has those that its first version turns out to have."""
    request = _request(name, task, inputs, outputs, input_shape, classes, preprocessing, licence)
    with connect() as client:
        made = client.models.create(request)
    show_item(made, _facts(made), as_json=as_json)


@app.command("import")
def import_file(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="ONNX, TFLite, TorchScript, .ptl, .pte, .eim, or OpenVINO's .xml.", exists=True
        ),
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the model.")],
    format: versions.FormatOption = None,
    task: TaskOption = Task.CLASSIFICATION,
    inputs: Inputs = None,
    outputs: Outputs = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    preprocessing: PreprocessingFile = None,
    licence: Licence = "",
    notes: versions.Notes = "",
    as_json: Json = False,
) -> None:
    """Register a model with a ready-made file as its first version, and wait until it was looked at."""
    kind = format or signatures.format_of(path)
    request = _request(name, task, inputs, outputs, input_shape, classes, preprocessing, licence)
    with connect() as client:
        with signatures.one_file(path) as file:
            sha256 = files.upload(client, file, is_quiet=as_json)
        client.models.create(request)
        body = VersionRequest.model_validate({"format": kind, "file": sha256, "notes": notes})
        made = client.models.create_version(name, body)
        versions.follow(client, made, is_watched=True, as_json=as_json)


@app.command()
def lineage(model: ModelName, as_json: Json = False) -> None:
    """Show where everything of a model comes from: versions, variants, and what made them."""
    with connect() as client:
        found = client.models.lineage(model)
    show_tree(found, tree_of(model, found), as_json=as_json)


@app.command()
def delete(model: ModelName, as_json: Json = False) -> None:
    """Delete a model; refused while anything depends on it."""
    with connect() as client:
        client.models.delete(model)
    show_done(f"Deleted the model {model}.", {"name": model, "deleted": True}, as_json=as_json)


def _request(
    name: str,
    task: Task,
    inputs: list[str] | None,
    outputs: list[str] | None,
    input_shape: str | None,
    classes: str | None,
    preprocessing: Path | None,
    licence: str,
) -> ModelRequest:
    labels = signatures.parse_classes(classes)
    return ModelRequest(
        name=name,
        task=task,
        signature=signatures.parse_signature(inputs, outputs, input_shape, labels),
        preprocessing=signatures.read_preprocessing(preprocessing),
        class_labels=labels,
        licence=licence,
    )


def _tensors(model: Model, which: str) -> list[str]:
    return [signatures.say_tensor(one) for one in getattr(model.signature, which)] if model.signature else []


def _facts(model: Model) -> dict[str, Any]:
    return {
        "Model": model.name,
        "Task": model.task,
        "Inputs": "\n".join(_tensors(model, "inputs")) or "known after the first version",
        "Outputs": "\n".join(_tensors(model, "outputs")),
        "Preprocessing": model.preprocessing,
        "Classes": model.class_labels,
        "Licence": model.licence,
        "Versions": model.versions,
        "Created": model.created_at,
    }
