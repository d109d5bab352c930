"""`shoal compressions`: make variants of a version, by recipes or by searching for them. A compression is a job."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli import jobs
from shoal.cli.options import Cursor, Every, Json, Limit, Watch, parse_version
from shoal.cli.session import connect
from shoal.cli.versions import VersionName
from shoal.schemas.jobs import CompressionRequest, SensitivityRequest
from shoal.schemas.recipes import Budget, Recipe, Search

app = typer.Typer(no_args_is_help=True, help="Make variants of a version that fit the fleet.")
app.command("show")(jobs.show)
app.command("watch")(jobs.watch)

_DEFAULT: Final = ("fp32:onnxruntime", "int8:onnxruntime,openvino")
_UNITS: Final = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(|B|KiB|MiB|GiB)")
_MAX_FILE_BYTES: Final = 2**20


@app.command("list")
def list_compressions(
    state: Annotated[str | None, typer.Option("--state", help="Only those in this state.")] = None,
    subject: Annotated[
        str | None, typer.Option("--about", help="Only those of this version, such as digits/1.")
    ] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List compressions, newest first."""
    jobs.list_jobs(
        kind="compress", state=state, subject=subject, every=every, limit=limit, cursor=cursor, as_json=as_json
    )


@app.command()
def create(
    version: VersionName,
    calibration: Annotated[str, typer.Option("--calibration", metavar="DATASET", help="Data set of that role.")],
    evaluation: Annotated[str, typer.Option("--evaluation", metavar="DATASET", help="Data set of that role.")],
    golden: Annotated[str, typer.Option("--golden", metavar="DATASET", help="Data set of that role.")],
    training: Annotated[
        str | None, typer.Option("--training", metavar="DATASET", help="Data set of that role, for what fine-tunes.")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            metavar="NAME[:RUNTIME,...]",
            help="Such as int8:onnxruntime,openvino; may be repeated. Without any: fp32 and int8.",
        ),
    ] = None,
    recipe_file: Annotated[
        list[Path] | None,
        typer.Option("--recipe-file", metavar="FILE", help="JSON with name, steps and runtimes; may be repeated."),
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Search recipes; needs a budget.")] = False,
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="That a search is for; may be repeated. onnxruntime.")
    ] = None,
    max_trials: Annotated[int, typer.Option("--max-trials", min=1, max=500, help="Of a search.")] = 16,
    max_drop: Annotated[
        float | None,
        typer.Option("--max-drop", min=0, max=1, help="Budget: at most so much below the version's score."),
    ] = None,
    max_size: Annotated[str | None, typer.Option("--max-size", metavar="SIZE", help="Budget: such as 2MiB.")] = None,
    max_latency: Annotated[
        float | None, typer.Option("--max-latency", metavar="MS", min=0, help="Budget: median of one inference.")
    ] = None,
    selector: Annotated[
        str | None, typer.Option("--selector", metavar="TEXT", help="The devices that the latency is meant for.")
    ] = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Start a compression."""
    model, number = parse_version(version)
    said = {
        "max_accuracy_drop": max_drop,
        "max_size_bytes": None if max_size is None else parse_size(max_size),
        "max_latency_ms": max_latency,
        "selector": selector,
    }
    given = {name: value for name, value in said.items() if value is not None}
    if auto and (recipe or recipe_file):
        raise typer.BadParameter("Either --auto, or recipes.", param_hint="--auto")
    recipes = [] if auto else [*parse_recipes(recipe or []), *(read_recipe(path) for path in recipe_file or [])]
    request = CompressionRequest(
        model=model,
        version=number,
        recipes=recipes or ([] if auto else parse_recipes(_DEFAULT)),
        search=Search.model_validate({"runtimes": runtime or ["onnxruntime"], "max_trials": max_trials})
        if auto
        else None,
        budget=Budget.model_validate(given) if given or auto else None,
        calibration_dataset=calibration,
        evaluation_dataset=evaluation,
        golden_dataset=golden,
        training_dataset=training,
    )
    with connect() as client:
        jobs.follow(client, client.jobs.compress(request), is_watched=watch, as_json=as_json)


@app.command()
def sensitivity(
    version: VersionName,
    calibration: Annotated[str, typer.Option("--calibration", metavar="DATASET", help="Data set of that role.")],
    evaluation: Annotated[str, typer.Option("--evaluation", metavar="DATASET", help="Data set of that role.")],
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Measure how much each layer suffers from int8; nothing is made."""
    model, number = parse_version(version)
    request = SensitivityRequest(
        model=model, version=number, calibration_dataset=calibration, evaluation_dataset=evaluation
    )
    with connect() as client:
        jobs.follow(client, client.jobs.measure_sensitivity(request), is_watched=watch, as_json=as_json)


def parse_recipes(said: list[str] | tuple[str, ...]) -> list[Recipe]:
    """Read recipes.

    >>> parse_recipes(["int8:onnxruntime,openvino"])[0].runtimes, parse_recipes(["fp16"])[0].runtimes
    (['onnxruntime', 'openvino'], ['onnxruntime'])

    Raises:
        typer.BadParameter.
    """
    recipes = []
    for one in said:
        name, colon, runtimes = one.partition(":")
        told = runtimes.split(",") if colon else ["onnxruntime"]
        recipes.append(_recipe({"name": name, "runtimes": told}, one, "--recipe"))
    return recipes


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a JSON file.

    Raises:
        typer.BadParameter: It is none, or too large.
        OSError.
    """
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise typer.BadParameter(f"{path} has more than {_MAX_FILE_BYTES} bytes.", param_hint="--recipe-file")
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise typer.BadParameter(f"{path} is no JSON: {error}", param_hint="--recipe-file") from error
    return _recipe(document, str(path), "--recipe-file")


def parse_size(said: str) -> int:
    """Read a size.

    >>> parse_size("2MiB"), parse_size("1.5 KiB"), parse_size("100")
    (2097152, 1536, 100)

    Raises:
        typer.BadParameter.
    """
    found = _SIZE.fullmatch(said.strip())
    if found is None or float(found.group(1)) <= 0:
        raise typer.BadParameter(f"{said!r} is no size: write such as 512KiB or 2MiB.", param_hint="--max-size")
    return int(float(found.group(1)) * _UNITS[found.group(2)])


def _recipe(document: Any, said: str, option: str) -> Recipe:
    try:
        return Recipe.model_validate(document)
    except ValueError as error:
        raise typer.BadParameter(
            f"{said!r} is no recipe: write such as int8:onnxruntime,openvino. {error}", param_hint=option
        ) from error
