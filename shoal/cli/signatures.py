"""What a model is, as it is typed: tensors, shapes, class labels, preprocessing, the format of a file."""

import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from shoal.cli.errors import CliError
from shoal.schemas.signatures import Signature, TensorSpec
from shoal.wire.models import Datatype

_MAX_BYTES: Final = 1024 * 1024
_SUFFIXES: Final = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".torchscript": "torchscript",
    ".pt": "torchscript",
    ".ptl": "ptl",
    ".pte": "pte",
    ".xml": "openvino",
    ".zip": "openvino",
    ".eim": "eim",
}

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input", metavar="NAME:DTYPE:SHAPE", help="Such as image:FP32:-1,3,224,224; may be repeated. -1 is free."
    ),
]
Outputs = Annotated[
    list[str] | None, typer.Option("--output", metavar="NAME:DTYPE:SHAPE", help="Likewise; may be repeated.")
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input-shape",
        metavar="SHAPE",
        help="Short for one float input and one score a class: a sample's shape, such as 1,8,8.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", metavar="LABELS", help="Labels in order, as a,b,c; or @FILE with one a line."),
]
PreprocessingFile = Annotated[
    Path | None, typer.Option("--preprocessing", metavar="FILE", help="JSON: the steps from raw data to the input.")
]
Licence = Annotated[str, typer.Option("--licence", metavar="SPDX", help="Such as Apache-2.0.")]


def parse_signature(
    inputs: Sequence[str] | None, outputs: Sequence[str] | None, shape: str | None, classes: Sequence[str]
) -> Signature | None:
    """Give what was typed about inputs and outputs, None where nothing was.

    >>> parse_signature(None, None, "1,8,8", ["a", "b"]).outputs[0].shape
    [-1, 2]

    Raises:
        typer.BadParameter.
    """
    if shape is not None:
        if inputs or outputs or not classes:
            raise typer.BadParameter("--input-shape goes with --classes, and without --input and --output.")
        return Signature(
            inputs=[TensorSpec(name="input", datatype=Datatype.FP32, shape=[-1, *_shape(shape, "--input-shape")])],
            outputs=[TensorSpec(name="output", datatype=Datatype.FP32, shape=[-1, len(classes)])],
        )
    if not inputs and not outputs:
        return None
    if not inputs or not outputs:
        raise typer.BadParameter("--input and --output come together.")
    return Signature(inputs=[_tensor(one) for one in inputs], outputs=[_tensor(one) for one in outputs])


def parse_classes(said: str | None) -> list[str]:
    """Give class labels.

    >>> parse_classes("cat, dog"), parse_classes(None)
    (['cat', 'dog'], [])
    """
    if said is None:
        return []
    if said.startswith("@"):
        with Path(said[1:]).open() as file:
            lines = file.read(_MAX_BYTES).splitlines()
        return [line.strip() for line in lines if line.strip()]
    return [label.strip() for label in said.split(",") if label.strip()]


def read_preprocessing(path: Path | None) -> list[dict[str, Any]]:
    """Read the steps of a file.

    Raises:
        CliError: `preprocessing.unreadable`.
    """
    if path is None:
        return []
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES)
    try:
        steps = json.loads(data)
    except ValueError as error:
        raise CliError("preprocessing.unreadable", f"{path} is no JSON: {error}") from error
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise CliError("preprocessing.unreadable", f'{path} is no list of steps such as [{{"op": "scale", ...}}].')
    return steps


def format_of(path: Path) -> str:
    """Give the format that a file's name says.

    >>> format_of(Path("net.onnx"))
    'onnx'

    Raises:
        typer.BadParameter.
    """
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        known = ", ".join(sorted(_SUFFIXES))
        raise typer.BadParameter(f"{path.name} has none of the endings {known}: say --format.", param_hint="--format")
    return found


@contextmanager
def one_file(path: Path) -> Iterator[Path]:
    """Give the one file that is uploaded: of an OpenVINO IR the zip of its two, else the file itself.

    Raises:
        CliError: `model.bin_missing`.
    """
    if path.suffix.lower() != ".xml":
        yield path
        return
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise CliError("model.bin_missing", f"{weights} belongs to {path}, and is not there.")
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        packed = Path(folder) / f"{path.stem}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            archive.write(path, "model.xml")
            archive.write(weights, "model.bin")
        yield packed


def say_tensor(spec: TensorSpec) -> str:
    """Say a tensor in one line.

    >>> say_tensor(TensorSpec(name="x", datatype=Datatype.FP32, shape=[-1, 8]))
    'x FP32 [-1, 8]'
    """
    return f"{spec.name} {spec.datatype.value} {spec.shape}"


def _tensor(said: str) -> TensorSpec:
    name, _, rest = said.rpartition(":")[0].rpartition(":")
    try:
        return TensorSpec.model_validate(
            {"name": name, "datatype": rest.upper(), "shape": _shape(said.rpartition(":")[2])}
        )
    except ValidationError as error:
        message = f"{said!r} is no tensor: write NAME:DTYPE:SHAPE, such as image:FP32:-1,3,224,224."
        raise typer.BadParameter(message) from error


def _shape(said: str, hint: str | None = None) -> list[int]:
    try:
        return [int(axis) for axis in said.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{said!r} is no shape: write numbers as in 1,8,8.", param_hint=hint) from error
