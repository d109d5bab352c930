"""`shoal versions`: a model's weights."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli import figures, files, jobs, signatures
from shoal.cli import watch as watching
from shoal.cli.options import Cursor, Every, Json, Limit, Paging, Watch, parse_version
from shoal.cli.output import Column, Part, show_done, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.watch import Bar
from shoal.client import Client
from shoal.schemas.artifacts import Evaluation, EvaluationRequest, Version, VersionRequest

app = typer.Typer(no_args_is_help=True, help="A model's weights, numbered 1, 2, 3.")
ModelName = Annotated[str, typer.Argument(metavar="MODEL")]
VersionName = Annotated[str, typer.Argument(metavar="MODEL/VERSION", help="Such as digits/1.")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="onnx, tflite, torchscript, ptl, pte, openvino or eim, where the file's name does not say it.",
    ),
]
Notes = Annotated[str, typer.Option("--notes", help="What is special about it.")]

_COLUMNS: Final = (
    Column[Version](title="Version", of=lambda version: f"{version.model}/{version.number}"),
    Column[Version](title="Source", of=lambda version: version.source),
    Column[Version](title="Format", of=lambda version: version.format),
    Column[Version](title="State", of=lambda version: version.state),
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
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="TRAIN.PT2 EVAL.PT2 WEIGHTS.SAFETENSORS; without the first where nothing will train it; "
            "or one ready-made file.",
        ),
    ],
    format: FormatOption = None,
    notes: Notes = "",
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Upload a version: exported programs and weights, or a ready-made file. A job looks at it before it is used."""
    if len(paths) not in (1, 2, 3):
        raise typer.BadParameter("One ready-made file, or programs and weights.", param_hint="FILE")
    with connect() as client:
        client.models.show(model)  # a typo is told before the uploads
        if len(paths) == 1:
            with signatures.one_file(paths[0]) as file:
                parts = {"file": files.upload(client, file, is_quiet=as_json)}
            kind = format or signatures.format_of(paths[0])
        else:
            names = ("train_program", "eval_program", "weights")[-len(paths) :]
            parts = {
                name: files.upload(client, path, is_quiet=as_json) for name, path in zip(names, paths, strict=True)
            }
            kind = "program"
        request = VersionRequest.model_validate({"format": kind, "notes": notes, **parts})
        follow(client, client.models.create_version(model, request), is_watched=watch, as_json=as_json)


@app.command()
def inspect(version: VersionName, watch: Watch = False, as_json: Json = False) -> None:
    """Look once more at a version that was refused: what was missing may be there now."""
    model, number = parse_version(version)
    with connect() as client:
        client.models.inspect(model, number)
        follow(client, client.models.show_version(model, number), is_watched=watch, as_json=as_json)


@app.command()
def delete(version: VersionName, as_json: Json = False) -> None:
    """Delete a version; refused while anything depends on it."""
    with connect() as client:
        client.models.delete_version(*parse_version(version))
    show_done(f"Deleted the version {version}.", {"version": version, "deleted": True}, as_json=as_json)


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
        jobs.follow(client, job, is_watched=watch, as_json=as_json)


def follow(client: Client, version: Version, *, is_watched: bool, as_json: bool) -> None:
    """Show a version, first watching it until it was looked at if so wanted.

    Raises:
        typer.Exit: It was refused.
    """
    if is_watched:
        model, number = version.model, version.number

        def bars(now: Version) -> list[Bar]:
            found = client.jobs.list(kind="inspect", subject=f"{model}/{number}", limit=1).items
            share = 1.0 if now.state != "checking" else found[0].progress if found else 0.0
            words = found[0].message if found else now.state
            return [Bar(name=f"looking at {model}/{number}", share=share, words=words)]

        version = watching.watch(lambda: client.models.show_version(model, number), bars, is_quiet=as_json)
    show_item(version, _facts(version), as_json=as_json)
    watching.exit_by(version.state)


def _evaluation(evaluation: Evaluation) -> str:
    return f"{figures.percent(evaluation.accuracy)} on {evaluation.dataset}"


def _facts(version: Version) -> dict[str, Any]:
    return {
        "Version": f"{version.model}/{version.number}",
        "Id": version.id,
        "State": version.state,
        **({"Code": version.code, "Message": version.message} if version.code else {}),
        "Source": version.source,
        "Format": version.format,
        "Parent": version.parent,
        "Lineage": version.lineage,
        "Variants": version.variants,
        **{name: digest for name, digest in _digests(version).items() if digest is not None},
        "Inspection": version.inspection,
        "By": version.created_by,
        "Created": version.created_at,
    }


def _digests(version: Version) -> dict[str, str | None]:
    return {
        "Train program": version.train_program,
        "Eval program": version.eval_program,
        "Weights": version.weights,
        "File": version.file,
    }
