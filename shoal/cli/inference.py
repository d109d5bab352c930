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

app = typer.Typer(no_args_is_help=True, help="Ask the controller's own runner.")


class _Answer:
    """The answer to one sample: the class with the largest output."""

    def __init__(self, number: int, outputs: list[float], labels: list[str]) -> None:
        self.number = number
        best = max(range(len(outputs)), key=outputs.__getitem__)
        self.label = labels[best] if best < len(labels) else str(best)
        self.output = outputs[best]


_COLUMNS: Final = (
    Column[_Answer](title="Sample", of=lambda answer: answer.number, is_number=True),
    Column[_Answer](title="Class", of=lambda answer: answer.label),
    Column[_Answer](title="Output", of=lambda answer: f"{answer.output:.4f}", is_number=True),
)


@app.command()
def infer(
    version: VersionName,
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help=".npy, or JSON of the Open Inference Protocol v2; - reads JSON.")
    ],
    variant: Annotated[str, typer.Option("--variant", metavar="ID", help="Else the most accurate one.")] = "",
    input_name: Annotated[str, typer.Option("--input", help="Name of the input that a .npy is for.")] = "input",
    as_json: Json = False,
) -> None:
    """Run a variant on samples."""
    model, number = parse_version(version)
    request = files.read_request(path, input_name)
    with connect() as client:
        answer = client.inference.infer(model, number, request, variant=variant)
        labels = [] if as_json else client.models.show(model).class_labels
    facts = {"Version": f"{answer.model_name}/{answer.model_version}"}
    parts = [Part(items=list(_answers(output, labels)), columns=_COLUMNS) for output in answer.outputs]
    show_item(answer, facts, *parts, as_json=as_json)


def _answers(output: dict[str, Any], labels: list[str]) -> Iterator[_Answer]:
    """Give what was answered to each sample, for an output of samples x classes."""
    shape, data = output.get("shape", []), output.get("data", [])
    if len(shape) != 2 or shape[1] < 1:
        return
    flat = [value for row in data for value in row] if data and isinstance(data[0], list) else data
    for number in range(shape[0]):
        yield _Answer(number, flat[number * shape[1] : (number + 1) * shape[1]], labels)
