"""What the file of a data set must be: safetensors, read piece by piece, never whole. Pure; others bring the bytes.

The header is looked at first, then what must be finite or a label.
Not here: the file's layout (`tensor_file`); the other formats, which become this one (`controller.datasets`); what a
model takes (`datasets`).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.artifacts.tensor_file import DTYPES, LENGTH, Malformed, Read, Tensor, TensorFile, item_bytes
from controller.errors import Invalid
from shoal.wire.models import Datatype

MAX_DATASET_BYTES: Final = 4 * 2**30
MAX_HEADER_BYTES: Final = 64 * 1024  # 16 inputs and 16 outputs need 4 KiB
_NAME: Final = re.compile(r"[xy](\.[^\x00-\x1f\x7f]{1,128})?|at")
_CODES: Final = {datatype: code for code, (datatype, _) in DTYPES.items()}


@dataclass(frozen=True, kw_only=True)
class DatasetTensor:
    """A tensor of a data set.

    Attributes:
        shape: The samples' axis first.
    """

    name: str
    datatype: Datatype
    shape: list[int]

    @property
    def item_bytes(self) -> int:
        """How many bytes an element takes; tensors in falling order of it stay aligned."""
        return item_bytes(_CODES[self.datatype])

    @property
    def size_bytes(self) -> int:
        """How many bytes its elements take."""
        return math.prod(self.shape) * self.item_bytes


@dataclass(frozen=True, kw_only=True)
class DatasetFigures:
    """What a data set holds.

    Attributes:
        tensors: `{name: {datatype, shape of one sample}}`.
        largest_label: Of `y`, where it is one whole number a sample.
    """

    samples: int
    tensors: dict[str, dict[str, Any]]
    largest_label: int | None = None


def header_of(tensors: list[DatasetTensor]) -> bytes:
    """Give the beginning of a file of these tensors; their elements follow in this order.

    >>> one = DatasetTensor(name="y", datatype=Datatype.INT64, shape=[2])
    >>> header_of([one])[8:].rstrip()
    b'{"y":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}'
    """
    entries: dict[str, Any] = {}
    place = 0
    for tensor in tensors:
        end = place + tensor.size_bytes
        entries[tensor.name] = {"dtype": _CODES[tensor.datatype], "shape": tensor.shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the elements begin at a multiple of 8
    return LENGTH.pack(len(text)) + text


def examine(read: Read, size_bytes: int) -> DatasetFigures:
    """Look at the file of a data set: `x` or `x.<input>`, `y` or `y.<name>`, `at` (INT64); samples first.

    Raises:
        Invalid: `dataset.malformed`, `dataset.not_finite`, `dataset.too_large`, `dataset.pickled`.
    """
    if size_bytes > MAX_DATASET_BYTES:
        raise Invalid("dataset.too_large", f"A data set has at most {MAX_DATASET_BYTES} bytes; this one {size_bytes}.")
    try:
        file = TensorFile(read, size_bytes, max_header_bytes=MAX_HEADER_BYTES)
        for name in file.tensors:
            if _NAME.fullmatch(name) is None:
                raise Malformed(f"it has a tensor {name[:100]!r}; known are x, x.<input>, y, y.<name> and at")
        samples = _samples(file.tensors)
        largest = _largest_label(file)
        for name in file.tensors:
            if not file.is_finite(name):
                raise Invalid("dataset.not_finite", f"{name} has NaN or infinite values.")
    except Malformed as error:
        _refuse_known(error.head)
        raise _malformed(str(error)) from error
    tensors = {
        name: {"datatype": DTYPES[one.dtype][0].value, "shape": one.shape[1:]} for name, one in file.tensors.items()
    }
    return DatasetFigures(samples=samples, tensors=tensors, largest_label=largest)


def _largest_label(file: TensorFile) -> int | None:
    """Give the largest of `y`, where it is one whole number a sample."""
    if "y" not in file.tensors or not _is_label(file.tensors["y"]):
        return None
    largest = 0
    for part in file.parts("y"):
        if int(part.min()) < 0:
            raise Malformed("y has labels below 0")
        largest = max(largest, int(part.max()))
    return largest


def _samples(entries: Mapping[str, Tensor]) -> int:
    """Give how many samples there are, the same of each tensor."""
    inputs = [name for name in entries if name.partition(".")[0] == "x"]
    if not inputs or ("x" in inputs and len(inputs) > 1):
        raise Malformed("it has x, or x.<input> for each of several inputs, and not both")
    if "y" in entries and any(name.startswith("y.") for name in entries):
        raise Malformed("it has y, or y.<name>, and not both")
    if not all(entry.shape for entry in entries.values()):
        raise Malformed("a tensor has no axis: the samples come first")
    counts = {name: entry.shape[0] for name, entry in entries.items()}
    samples = counts[inputs[0]]
    if set(counts.values()) != {samples}:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Malformed(f"its tensors have different numbers of samples: {each}"[:400])
    if not samples or any(0 in entry.shape for entry in entries.values()):
        raise Malformed("it has no samples")
    if any(len(entries[name].shape) < 2 for name in inputs):
        raise Malformed("a sample of x is no single number: x has two axes at least, the samples first")
    if "at" in entries and (entries["at"].dtype, len(entries["at"].shape)) != ("I64", 1):
        raise Malformed("at is INT64, one moment a sample")
    return samples


def _is_label(entry: Tensor) -> bool:
    return entry.dtype == "I64" and len(entry.shape) == 1


def _refuse_known(head: bytes) -> None:
    """Say what a file is that is another kind than it should be."""
    if head.startswith(b"PK"):
        raise _malformed("it is a zip file: say its format, npz or images, to have it imported")
    if head.startswith(b"PAR1"):
        raise _malformed("it is a Parquet file: say its format to have it imported")
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise Invalid("dataset.pickled", "The file is a pickle, which is code; save the arrays as safetensors.")


def _malformed(why: str) -> Invalid:
    return Invalid("dataset.malformed", f"The file is no data set as safetensors: {why}.")
