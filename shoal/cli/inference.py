"""`shoal inference`: ask the controller's own runner."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli import files
from shoal.cli.options import Json, parse_version
from shoal.cli.output import Column, Part, show_item
from shoal.cli.session import connect
from shoal.cli.versions import VersionName
from shoal.schemas.artifacts import Model
from shoal.wire.models import Task

app = typer.Typer(no_args_is_help=True, help="Ask the controller's own runner.")


class _Answer:
    """The answer to one sample: the class with the largest output."""

    def __init__(self, number: int, outputs: list[float], labels: list[str]) -> None:
        self.number = number
        best = max(range(len(outputs)), key=outputs.__getitem__)
        self.label = labels[best] if best < len(labels) else str(best)
        self.output = outputs[best]


class _Values:
    """What an output has for one sample, as it is; of a long one its beginning."""

    def __init__(self, number: int, name: str, values: list[float]) -> None:
        self.number = number
        self.name = name
        rest = f" ... ({len(values)} in all)" if len(values) > _SHOWN else ""
        self.values = ", ".join(f"{value:.4g}" for value in values[:_SHOWN]) + rest


_SHOWN: Final = 8
_ANSWER_COLUMNS: Final = (
    Column[_Answer](title="Sample", of=lambda answer: answer.number, is_number=True),
    Column[_Answer](title="Class", of=lambda answer: answer.label),
    Column[_Answer](title="Output", of=lambda answer: f"{answer.output:.4f}", is_number=True),
)
_VALUES_COLUMNS: Final = (
    Column[_Values](title="Sample", of=lambda values: values.number, is_number=True),
    Column[_Values](title="Output", of=lambda values: values.name),
    Column[_Values](title="Values", of=lambda values: values.values, is_long=True),
)


@app.command()
def infer(
    version: VersionName,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".npy, .npz with an array for each input, or JSON of the Open Inference Protocol v2; - reads JSON.",
        ),
    ],
    variant: Annotated[str, typer.Option("--variant", metavar="ID", help="Else the most accurate one.")] = "",
    input_name: Annotated[
        str, typer.Option("--input", help="Name of the input that a .npy is for; raw: prepared as the model declares.")
    ] = "input",
    as_json: Json = False,
) -> None:
    """Run a variant on samples."""
    model, number = parse_version(version)
    request = files.read_request(path, input_name)
    with connect() as client:
        answer = client.inference.infer(model, number, request, variant=variant)
        about = None if as_json else client.models.show(model)
    facts = {"Version": f"{answer.model_name}/{answer.model_version}"}
    parts = [] if about is None else list(_parts(answer.outputs, about))
    show_item(answer, facts, *parts, as_json=as_json)


def _parts(outputs: list[dict[str, Any]], about: Model) -> Iterator[Part[Any]]:
    """Give a table of the classes, where the first output has them, and one of all that is shown as it is."""
    values = []
    for place, output in enumerate(outputs):
        samples = list(_samples(output))
        if place == 0 and about.task == Task.CLASSIFICATION and len(output["shape"]) == 2:
            answers = [_Answer(number, sample, about.class_labels) for number, sample in enumerate(samples)]
            yield Part(items=answers, columns=_ANSWER_COLUMNS)
        else:
            values += [_Values(number, output["name"], sample) for number, sample in enumerate(samples)]
    if values:
        yield Part(items=values, columns=_VALUES_COLUMNS)


def _samples(output: dict[str, Any]) -> Iterator[list[float]]:
    """Give an output's numbers sample by sample."""
    count, *_ = output["shape"]
    width = len(output["data"]) // count
    return (output["data"][number * width : (number + 1) * width] for number in range(count))
