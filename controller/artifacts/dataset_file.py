"""What the file of a data set must be: safetensors, read piece by piece, never whole. Pure; others bring the bytes.

The header is bounded and looked at first, then what must be finite or a label. Layout as the format's own reader
demands it: the tensors fill the rest of the file without a gap.
Not here: the other formats, which become this one (`controller.datasets`); what a model takes (`datasets`).

Source: the safetensors format, github.com/huggingface/safetensors, README.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from controller.errors import Invalid
from shoal.wire.models import Datatype

MAX_DATASET_BYTES: Final = 4 * 2**30
MAX_HEADER_BYTES: Final = 64 * 1024  # 16 inputs and 16 outputs need 4 KiB
_PIECE_BYTES: Final = 4 * 2**20  # a multiple of every element
_LENGTH: Final = struct.Struct("<Q")
_NAME: Final = re.compile(r"[xy](\.[^\x00-\x1f\x7f]{1,128})?|at")
_DTYPES: Final[Mapping[str, tuple[Datatype, Any]]] = {
    "BOOL": (Datatype.BOOL, np.bool_),
    "U8": (Datatype.UINT8, np.uint8),
    "I8": (Datatype.INT8, np.int8),
    "I16": (Datatype.INT16, "<i2"),
    "I32": (Datatype.INT32, "<i4"),
    "I64": (Datatype.INT64, "<i8"),
    "F16": (Datatype.FP16, "<f2"),
    "F32": (Datatype.FP32, "<f4"),
    "F64": (Datatype.FP64, "<f8"),
}
_CODES: Final = {datatype: code for code, (datatype, _) in _DTYPES.items()}

Read = Callable[[int, int], bytes]  # gives the bytes from a place up to another
Axis = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Entry(msgspec.Struct):
    dtype: str
    shape: Annotated[list[Axis], msgspec.Meta(min_length=1, max_length=8)]
    data_offsets: tuple[Axis, Axis]


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
        return _item_bytes(_CODES[self.datatype])

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
    return _LENGTH.pack(len(text)) + text


def examine(read: Read, size_bytes: int) -> DatasetFigures:
    """Look at the file of a data set: `x` or `x.<input>`, `y` or `y.<name>`, `at` (INT64); samples first.

    Raises:
        Invalid: `dataset.malformed`, `dataset.not_finite`, `dataset.too_large`, `dataset.pickled`.
    """
    if size_bytes > MAX_DATASET_BYTES:
        raise Invalid("dataset.too_large", f"A data set has at most {MAX_DATASET_BYTES} bytes; this one {size_bytes}.")
    begin, entries = _layout(read, size_bytes)
    samples = _samples(entries)
    largest: int | None = None
    for name, entry in entries.items():
        start, end = (begin + offset for offset in entry.data_offsets)
        for part in _parts(read, entry, start, end):
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                raise Invalid("dataset.not_finite", f"{name} has NaN or infinite values.")
            if name == "y" and _is_label(entry):
                if int(part.min()) < 0:
                    raise Invalid("dataset.malformed", "y has labels below 0.")
                largest = max(largest or 0, int(part.max()))
    tensors = {name: {"datatype": _DTYPES[one.dtype][0].value, "shape": one.shape[1:]} for name, one in entries.items()}
    return DatasetFigures(samples=samples, tensors=tensors, largest_label=largest)


def _layout(read: Read, size_bytes: int) -> tuple[int, dict[str, _Entry]]:
    """Give where the elements begin, and the tensors by name."""
    if size_bytes < _LENGTH.size:
        raise _malformed("it ends before its header")
    head = read(0, _LENGTH.size)
    (length,) = _LENGTH.unpack(head)
    begin = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or begin > size_bytes:
        _refuse_known(head)
        raise _malformed(f"its header would have {length} bytes; at most {min(MAX_HEADER_BYTES, size_bytes)} can be")
    try:
        header = msgspec.convert(json.loads(read(_LENGTH.size, begin), object_pairs_hook=_once), dict[str, Any])
        header.pop("__metadata__", None)
        entries = msgspec.convert(header, dict[str, _Entry])
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise _malformed(f"its header does not parse ({str(error)[:200] or 'it is nested too deeply'})") from error
    place = begin
    for name, entry in sorted(entries.items(), key=lambda one: one[1].data_offsets):
        if _NAME.fullmatch(name) is None:
            raise _malformed(f"it has a tensor {name[:100]!r}; known are x, x.<input>, y, y.<name> and at")
        if entry.dtype not in _DTYPES:
            raise _malformed(f"{name} is {entry.dtype[:20]!r}; known are {', '.join(_DTYPES)}")
        start, end = (begin + offset for offset in entry.data_offsets)
        if start != place or end - start != math.prod(entry.shape) * _item_bytes(entry.dtype):
            raise _malformed(f"the elements of {name} are not where they should be")
        place = end
    if place != size_bytes:
        raise _malformed(f"it has {size_bytes} bytes, and its header says {place}")
    return begin, entries


def _samples(entries: Mapping[str, _Entry]) -> int:
    """Give how many samples there are, the same of each tensor."""
    inputs = [name for name in entries if name.partition(".")[0] == "x"]
    if not inputs or ("x" in inputs and len(inputs) > 1):
        raise _malformed("it has x, or x.<input> for each of several inputs, and not both")
    if "y" in entries and any(name.startswith("y.") for name in entries):
        raise _malformed("it has y, or y.<name>, and not both")
    counts = {name: entry.shape[0] for name, entry in entries.items()}
    samples = counts[inputs[0]]
    if set(counts.values()) != {samples}:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise _malformed(f"its tensors have different numbers of samples: {each}"[:400])
    if not samples or any(0 in entry.shape for entry in entries.values()):
        raise _malformed("it has no samples")
    if any(len(entries[name].shape) < 2 for name in inputs):
        raise _malformed("a sample of x is no single number: x has two axes at least, the samples first")
    if "at" in entries and (entries["at"].dtype, len(entries["at"].shape)) != ("I64", 1):
        raise _malformed("at is INT64, one moment a sample")
    return samples


def _is_label(entry: _Entry) -> bool:
    return entry.dtype == "I64" and len(entry.shape) == 1


def _parts(read: Read, entry: _Entry, start: int, end: int) -> Iterator[NDArray[Any]]:
    """Give a tensor's elements in pieces; those of which nothing is demanded are not read."""
    dtype = np.dtype(_DTYPES[entry.dtype][1])
    if dtype.kind != "f" and not _is_label(entry):
        return
    for place in range(start, end, _PIECE_BYTES):
        data = read(place, min(place + _PIECE_BYTES, end))
        if len(data) != min(place + _PIECE_BYTES, end) - place:
            raise _malformed("it ends too early")
        yield np.frombuffer(data, dtype)


def _item_bytes(dtype: str) -> int:
    return int(np.dtype(_DTYPES[dtype][1]).itemsize)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


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
