"""`shoal versions`: a model's weights."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli import figures, files
from shoal.cli.jobs import follow
from shoal.cli.options import Cursor, Every, Json, Limit, Paging, Watch, parse_version
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.schemas.artifacts import Evaluation, EvaluationRequest, Version, VersionRequest

app = typer.Typer(no_args_is_help=True, help="A model's weights, numbered 1, 2, 3.")
ModelName = Annotated[str, typer.Argument(metavar="MODEL")]
VersionName = Annotated[str, typer.Argument(metavar="MODEL/VERSION", help="Such as digits/1.")]

_COLUMNS: Final = (
    Column[Version](title="Version", of=lambda version: f"{version.model}/{version.number}"),
    Column[Version](title="Source", of=lambda version: version.source),
    Column[Version](title="Parent", of=lambda version: version.parent, is_number=True),
    Column[Version](title="Variants", of=lambda version: version.variants, is_number=True),
    Column[Version](
        title="Accuracy", of=lambda version: [_evaluation(one) for one in version.evaluations], is_long=True
    ),
    Column[Version](title="By", of=lambda version: version.created_by),
    Column[Version](title="Created", of=lambda version: version.created_at),
)
_EVALUATIONS: Final = (
    Column[Evaluation](title="Data set", of=lambda evaluation: evaluation.dataset),
    Column[Evaluation](title="Accuracy", of=lambda evaluation: figures.percent(evaluation.accuracy), is_number=True),
    Column[Evaluation](title="Loss", of=lambda evaluation: f"{evaluation.loss:.4f}", is_number=True),
    Column[Evaluation](title="Samples", of=lambda evaluation: f"{evaluation.samples:,}", is_number=True),
    Column[Evaluation](title="Measured", of=lambda evaluation: evaluation.created_at),
)


@app.command("list")
def list_versions(
    model: ModelName, every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False
) -> None:
    """List a model's versions, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.models.list_versions(model, limit=limit, cursor=cursor)
        )
    show_page(page, _COLUMNS, empty="No versions yet: upload one with `shoal versions create`.", as_json=as_json)


@app.command()
def show(version: VersionName, as_json: Json = False) -> None:
    """Show a version, where it comes from and how good it is."""
    with connect() as client:
        found = client.models.show_version(*parse_version(version))
    show_item(found, _facts(found), Part(items=found.evaluations, columns=_EVALUATIONS), as_json=as_json)


@app.command()
def create(
    model: ModelName,
    train_program: Annotated[Path, typer.Argument(metavar="TRAIN.PT2", help="The exported training program.")],
    eval_program: Annotated[Path, typer.Argument(metavar="EVAL.PT2", help="The exported evaluation program.")],
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS.SAFETENSORS")],
    notes: Annotated[str, typer.Option("--notes", help="What is special about it.")] = "",
    as_json: Json = False,
) -> None:
    """Upload a version: two exported programs and the weights."""
    with connect() as client:
        client.models.show(model)  # a typo is told before the uploads
        request = VersionRequest(
            train_program=files.upload(client, train_program),
            eval_program=files.upload(client, eval_program),
            weights=files.upload(client, weights),
            notes=notes,
        )
        made = client.models.create_version(model, request)
    show_item(made, _facts(made), as_json=as_json)


@app.command()
def evaluate(
    version: VersionName,
    dataset: Annotated[str, typer.Argument(metavar="DATASET")],
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Start a job that measures a version on a data set."""
    with connect() as client:
        job = client.models.evaluate(*parse_version(version), EvaluationRequest(dataset=dataset))
        follow(client, job, is_watched=watch, as_json=as_json)


def _evaluation(evaluation: Evaluation) -> str:
    return f"{figures.percent(evaluation.accuracy)} on {evaluation.dataset}"


def _facts(version: Version) -> dict[str, Any]:
    return {
        "Version": f"{version.model}/{version.number}",
        "Id": version.id,
        "Source": version.source,
        "Parent": version.parent,
        "Lineage": version.lineage,
        "Variants": version.variants,
        "Train program": version.train_program,
        "Eval program": version.eval_program,
        "Weights": version.weights,
        "By": version.created_by,
        "Created": version.created_at,
    }
