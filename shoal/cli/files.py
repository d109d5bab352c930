"""Local files that commands upload, send or write: arrays without pickle, uploads as they are."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from shoal.cli.errors import CliError
from shoal.client import Client
from shoal.schemas.inference import InferInput, InferRequest

_MAX_JSON_BYTES: Final = 64 * 1024 * 1024
_DATATYPES: Final = {
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


def upload(client: Client, path: Path) -> str:
    """Upload a file as an artifact; gives its digest."""
    return client.artifacts.create(path).sha256


def upload_dataset(client: Client, path: Path) -> str:
    """Upload samples: safetensors as they are, npz with `x` and `y` as safetensors; gives the digest.

    Raises:
        CliError: `dataset.unreadable`, `numpy.missing`.
    """
    if path.suffix == ".safetensors":
        return upload(client, path)
    if path.suffix != ".npz":
        raise CliError("dataset.unreadable", f"{path} is neither .safetensors nor .npz.")
    try:
        import numpy as np

        from shoal.wire.tensors import encode_tensors
    except ImportError as error:
        raise CliError("numpy.missing", _NO_NUMPY) from error
    try:
        with np.load(path, allow_pickle=False) as arrays:
            data = encode_tensors({"x": arrays["x"].astype(np.float32), "y": arrays["y"].astype(np.int64)})
    except OSError:
        raise
    except Exception as error:  # a damaged archive raises whatever zipfile, zlib and NumPy have
        raise CliError("dataset.unreadable", f"{path} holds no arrays x and y ({error}).") from error
    return client.artifacts.create(data).sha256


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
    """Read what a model shall be asked: one array from .npy, else a whole request of the Open Inference Protocol v2.

    Raises:
        CliError: `request.unreadable`, `numpy.missing`.
    """
    if path.suffix == ".npy":
        return InferRequest(inputs=[_read_array(path, input_name)])
    try:
        with path.open("rb") if str(path) != "-" else sys.stdin.buffer as file:
            data = file.read(_MAX_JSON_BYTES + 1)
        if len(data) > _MAX_JSON_BYTES:
            raise CliError("request.unreadable", f"{path} is larger than 64 MiB.")
        return InferRequest.model_validate(json.loads(data))
    except (ValidationError, UnicodeDecodeError, json.JSONDecodeError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        message = f"{path} is neither .npy nor a request of the Open Inference Protocol v2 ({why})."
        raise CliError("request.unreadable", message) from error


def _read_array(path: Path, name: str) -> InferInput:
    try:
        import numpy as np
    except ImportError as error:
        raise CliError("numpy.missing", _NO_NUMPY) from error
    try:
        with path.open("rb") as file:
            array: Any = np.lib.format.read_array(file, allow_pickle=False)
        datatype = _DATATYPES[str(array.dtype)]
    except (ValueError, EOFError, MemoryError) as error:
        raise CliError("request.unreadable", f"{path} is no array ({error}).") from error
    except KeyError as error:
        raise CliError("request.unreadable", f"{path} holds {error}, which no model takes.") from error
    return InferInput(name=name, shape=list(array.shape), datatype=datatype, data=array.ravel().tolist())
