"""`shoal compressions`: make variants of a version. A compression is a job."""

from typing import Annotated

import typer

from shoal.cli import jobs
from shoal.cli.options import Json, Watch, parse_version
from shoal.cli.session import connect
from shoal.cli.versions import VersionName
from shoal.schemas.jobs import CompressionRequest, RecipeRequest

app = typer.Typer(no_args_is_help=True, help="Make variants of a version that fit the fleet.")
app.command("watch")(jobs.watch)


@app.command()
def create(
    version: VersionName,
    calibration: Annotated[str, typer.Option("--calibration", metavar="DATASET", help="Data set of that role.")],
    evaluation: Annotated[str, typer.Option("--evaluation", metavar="DATASET", help="Data set of that role.")],
    golden: Annotated[str, typer.Option("--golden", metavar="DATASET", help="Data set of that role.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            metavar="NAME:RUNTIME,...",
            help="fp32 or int8, and onnxruntime or openvino; may be repeated. "
            "Without it: fp32:onnxruntime and int8:onnxruntime,openvino.",
        ),
    ] = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Start a compression."""
    model, number = parse_version(version)
    request = CompressionRequest(
        model=model,
        version=number,
        recipes=parse_recipes(recipe or ["fp32:onnxruntime", "int8:onnxruntime,openvino"]),
        calibration_dataset=calibration,
        evaluation_dataset=evaluation,
        golden_dataset=golden,
    )
    with connect() as client:
        jobs.follow(client, client.jobs.compress(request), is_watched=watch, as_json=as_json)


def parse_recipes(said: list[str]) -> list[RecipeRequest]:
    """Read recipes.

    >>> parse_recipes(["int8:onnxruntime,openvino"])[0].runtimes
    ['onnxruntime', 'openvino']

    Raises:
        typer.BadParameter.
    """
    recipes = []
    for one in said:
        name, _, runtimes = one.partition(":")
        try:
            recipes.append(RecipeRequest.model_validate({"name": name, "runtimes": runtimes.split(",")}))
        except ValueError as error:
            raise typer.BadParameter(
                f"{one!r} is no recipe: write such as int8:onnxruntime,openvino.", param_hint="--recipe"
            ) from error
    return recipes
