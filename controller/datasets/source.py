"""The port that every format implements, and what may be wrong with a file. Runs inside the sandbox."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from controller.artifacts.dataset_file import MAX_DATASET_BYTES, DatasetTensor
from shoal.wire.models import Datatype, Preprocessing, TensorSpec

MAX_SAMPLE_BYTES: Final = 64 * 2**20
_INTEGERS: Final = {
    np.dtype(np.bool_): Datatype.BOOL,
    np.dtype(np.uint8): Datatype.UINT8,
    np.dtype(np.int8): Datatype.INT8,
    np.dtype(np.int16): Datatype.INT16,
    np.dtype(np.int32): Datatype.INT32,
    np.dtype(np.int64): Datatype.INT64,
    np.dtype(np.uint16): Datatype.INT32,
    np.dtype(np.uint32): Datatype.INT64,
}
_FLOATS: Final = {np.dtype(np.float16): Datatype.FP16, np.dtype(np.float32): Datatype.FP32}


class Refused(Exception):
    """A file that cannot be imported.

    Attributes:
        code: Stable, dotted: `dataset.malformed`, `dataset.bomb`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the file shall become.

    Attributes:
        label_column: Of a table: the column that is `y`.
        class_labels: Names of the classes, in the order of their numbers; empty: as found, sorted.
        preprocessing: What the model declares; empty: nothing is done.
        inputs: Of the model whose data set this shall be; empty: of none.
    """

    label_column: str | None
    class_labels: Sequence[str]
    preprocessing: Preprocessing
    inputs: Sequence[TensorSpec]


class Source(Protocol):
    """An opened file.

    Attributes:
        tensors: What it becomes, in the order of `elements`.
        class_labels: Of `y`, where they are names in the file.
    """

    tensors: list[DatasetTensor]
    class_labels: list[str]

    def elements(self) -> Iterator[bytes]:
        """Give the elements of all tensors, one tensor after the other; pieces of at most a few MiB.

        Raises:
            Refused: What is found only on the way.
        """


def datatype_of(name: str, dtype: "np.dtype[Any]", inputs: Sequence[TensorSpec]) -> Datatype:
    """Give what an array's elements become: labels 64 bits wide, doubles single, but for a model that takes doubles.

    Raises:
        Refused: `dataset.pickled`, `dataset.malformed`.
    """
    plain = dtype.newbyteorder("=")
    if plain.hasobject:
        raise Refused("dataset.pickled", f"{name} holds Python objects, which only a pickle can bring; save numbers.")
    is_input = name.partition(".")[0] == "x"
    if plain == np.float64:
        takes_doubles = any(spec.datatype is Datatype.FP64 for spec in inputs if name in ("x", f"x.{spec.name}"))
        return Datatype.FP64 if takes_doubles else Datatype.FP32
    if plain in _FLOATS:
        return _FLOATS[plain] if is_input else Datatype.FP32
    if plain in _INTEGERS:
        return _INTEGERS[plain] if is_input else Datatype.INT64
    raise Refused("dataset.malformed", f"{name} is {dtype}, which no model takes.")


def check_sizes(tensors: Sequence[DatasetTensor]) -> None:
    """Refuse what would become too large, before any of it is made.

    Raises:
        Refused: `dataset.too_large`.
    """
    total = sum(tensor.size_bytes for tensor in tensors)
    if total > MAX_DATASET_BYTES:
        raise Refused(
            "dataset.too_large", f"It would become {total} bytes; a data set has at most {MAX_DATASET_BYTES}."
        )
    for tensor in tensors:
        if tensor.size_bytes > MAX_SAMPLE_BYTES * max(tensor.shape[0], 1):
            message = f"A sample of {tensor.name} is larger than {MAX_SAMPLE_BYTES} bytes."
            raise Refused("dataset.too_large", message)
