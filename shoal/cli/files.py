"""Local files that commands upload, send or write: arrays without pickle, uploads as they are."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from shoal.cli import figures, output
from shoal.cli.errors import CliError
from shoal.client import Client
from shoal.schemas.inference import InferInput, InferRequest

_MAX_JSON_BYTES: Final = 64 * 1024 * 1024
_DATATYPES: Final = {
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "bool": "BOOL",
}
_NO_NUMPY: Final = "This needs NumPy and safetensors: pip install 'shoal[serving]'."


def upload(client: Client, path: Path, *, is_quiet: bool = True) -> str:
    """Upload a file as an artifact; gives its digest.

    Args:
        is_quiet: Show no bar.
    """
    if is_quiet:
        return client.artifacts.create(path).sha256
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=output.console(is_error=True),
    )
    size = path.stat().st_size  # before there is a bar: a file that is not there has none
    with bar:
        task = bar.add_task(f"uploading {figures.printable(path.name)}", total=size)
        return client.artifacts.create(path, lambda count: bar.advance(task, count)).sha256


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that has its name only once it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(pieces)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_request(path: Path, input_name: str) -> InferRequest:
    """Read what a model shall be asked: an array from .npy, one for each input from .npz, or a whole request as JSON.

    Raises:
        CliError: `request.unreadable`, `numpy.missing`.
    """
    if path.suffix == ".npy":
        return InferRequest(inputs=[_read_array(path, input_name)])
    if path.suffix == ".npz":
        return InferRequest(inputs=_read_arrays(path))
    try:
        with path.open("rb") if str(path) != "-" else sys.stdin.buffer as file:
            data = file.read(_MAX_JSON_BYTES + 1)
        if len(data) > _MAX_JSON_BYTES:
            raise CliError("request.unreadable", f"{path} is larger than 64 MiB.")
        return InferRequest.model_validate(json.loads(data))
    except (ValidationError, UnicodeDecodeError, json.JSONDecodeError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        message = f"{path} is neither .npy or .npz nor a request of the Open Inference Protocol v2 ({why})."
        raise CliError("request.unreadable", message) from error


def _read_arrays(path: Path) -> list[InferInput]:
    try:
        import numpy as np
    except ImportError as error:
        raise CliError("numpy.missing", _NO_NUMPY) from error
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return [_input(path, name, arrays[name]) for name in arrays.files]
    except (OSError, CliError):
        raise
    except Exception as error:  # a damaged archive raises whatever zipfile, zlib and NumPy have
        raise CliError("request.unreadable", f"{path} holds no arrays ({error}).") from error


def _read_array(path: Path, name: str) -> InferInput:
    try:
        import numpy as np
    except ImportError as error:
        raise CliError("numpy.missing", _NO_NUMPY) from error
    try:
        with path.open("rb") as file:
            array: Any = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise CliError("request.unreadable", f"{path} is no array ({error}).") from error
    return _input(path, name, array)


def _input(path: Path, name: str, array: Any) -> InferInput:
    datatype = _DATATYPES.get(str(array.dtype))
    if datatype is None:
        raise CliError("request.unreadable", f"{path} holds {array.dtype}, which no model takes.")
    return InferInput(name=name, shape=list(array.shape), datatype=datatype, data=array.ravel().tolist())
