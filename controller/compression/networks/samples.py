"""Samples of a data set as the compression reads them: checked before anything starts, then a part at a time.

A file that is given by its path is mapped, not read: what is not looked at costs no memory.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from controller.compression.networks.refused import Refused
from shoal.wire.errors import WireError
from shoal.wire.models import Datatype, Signature, TensorSpec
from shoal.wire.tensors import decode_tensors

Arrays = dict[str, NDArray[Any]]
_CHECKED: Final = 1024  # samples looked at in one go
_TYPES: Final[dict[Datatype, Any]] = {
    Datatype.BOOL: np.bool_,
    Datatype.UINT8: np.uint8,
    Datatype.INT8: np.int8,
    Datatype.INT16: np.int16,
    Datatype.INT32: np.int32,
    Datatype.INT64: np.int64,
    Datatype.FP16: np.float16,
    Datatype.FP32: np.float32,
    Datatype.FP64: np.float64,
}
_STORED: Final = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """Samples, the first axis of every array.

    Attributes:
        inputs: By the name of the model's input.
        targets: What is expected: `y`, or `y.<output>`; none where the data set has no labels.
        outputs: Names of the model's outputs in their order.
    """

    inputs: Arrays
    targets: Arrays
    outputs: tuple[str, ...] = ("output",)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, index: NDArray[np.int64] | slice) -> "Samples":
        """Give the samples at these positions."""
        return Samples(
            {name: np.asarray(array[index]) for name, array in self.inputs.items()},
            {name: np.asarray(array[index]) for name, array in self.targets.items()},
            self.outputs,
        )

    def batches(self, size: int) -> Iterator["Samples"]:
        """Give all samples in their order, so many at a time."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


def read_samples(file: bytes | str, signature: Signature, *, noun: str, least: int = 1) -> Samples:
    """Read a data set for a model with this signature.

    Args:
        file: safetensors as bytes, or the path of such a file: `x` for the one input, `x.<name>` for each of several.
        noun: What the refusal is named after: `calibration`, `training`, `dataset`.
        least: So many samples are needed.

    Raises:
        Refused: `<noun>.malformed`, `<noun>.missing` (an input has no samples), `<noun>.bad_shape`,
            `<noun>.not_finite`, `<noun>.too_few`.
    """
    try:
        tensors = decode_tensors(file) if isinstance(file, bytes) else _mapped(Path(file))
    except (WireError, OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{noun}.malformed", f"The {noun} data does not parse: {error}") from error
    found: Arrays = {}
    inputs = signature.inputs
    for spec in inputs:
        array = tensors.get(f"x.{spec.name}", tensors.get("x") if len(inputs) == 1 else None)
        if array is None:
            held = ", ".join(sorted(tensors)[:8])
            raise Refused(f"{noun}.missing", f"The {noun} data has no x.{spec.name}; it has {held}.")
        found[spec.name] = _checked(array, spec, noun)
    targets = {name: array for name, array in tensors.items() if name == "y" or name.startswith("y.")}
    if len({len(array) for array in (*found.values(), *targets.values())}) > 1:
        counts = ", ".join(f"{name} {len(array)}" for name, array in (*found.items(), *targets.items()))
        raise Refused(f"{noun}.bad_shape", f"The {noun} data has different counts of samples: {counts}.")
    samples = Samples(found, targets, tuple(spec.name for spec in signature.outputs))
    if len(samples) < least:
        raise Refused(f"{noun}.too_few", f"The {noun} data has {len(samples)} samples; at least {least} are needed.")
    return samples


def _checked(array: NDArray[Any], spec: TensorSpec, noun: str) -> NDArray[Any]:
    fits = array.ndim == len(spec.shape) and all(
        wanted in (-1, got) for wanted, got in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        message = f"Samples of {spec.name} have shape {list(array.shape[1:])}; the model takes {spec.shape[1:]}."
        raise Refused(f"{noun}.bad_shape", message)
    if array.dtype != _TYPES[spec.datatype]:
        raise Refused(
            f"{noun}.bad_shape", f"Samples of {spec.name} are {array.dtype}; the model takes {spec.datatype}."
        )
    if array.dtype.kind == "f":
        for start in range(0, len(array), _CHECKED):
            part = array[start : start + _CHECKED]
            if not np.isfinite(part).all():
                place = start + int(np.argmin(np.isfinite(part.reshape(len(part), -1)).all(axis=1)))
                raise Refused(f"{noun}.not_finite", f"Sample {place} of {spec.name} has NaN or infinite values.")
    return array


def _mapped(path: Path) -> Arrays:
    """Give the arrays of a safetensors file as maps of its bytes."""
    with safe_open(path, framework="numpy"):
        """It checks that the header is one, and that its offsets lie in the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: Mapping[str, Any] = json.loads(file.read(length))
    return {
        name: np.memmap(path, _STORED[told["dtype"]], "r", 8 + length + told["data_offsets"][0], tuple(told["shape"]))
        for name, told in header.items()
        if name != "__metadata__" and told["data_offsets"][0] < told["data_offsets"][1]
    }
