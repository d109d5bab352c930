"""Named tensors in a safetensors file, read piece by piece, never whole. Pure; others bring the bytes.

The header is bounded and looked at first. Layout as the format's own reader demands it: the tensors fill the rest of
the file without a gap. Source: the safetensors format, github.com/huggingface/safetensors, README.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.wire.models import Datatype

LENGTH: Final = struct.Struct("<Q")
DTYPES: Final[Mapping[str, tuple[Datatype, Any]]] = {
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
_PIECE_BYTES: Final = 4 * 2**20  # a multiple of every element

Read = Callable[[int, int], bytes]  # gives the bytes from a place up to another
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class Malformed(ValueError):
    """The file is none of this format.

    Attributes:
        head: Its first bytes, which may tell what it is.
    """

    def __init__(self, why: str, head: bytes = b"") -> None:
        """Say why."""
        super().__init__(why)
        self.head = head


class Tensor(msgspec.Struct, frozen=True):
    """A tensor, as a file's header has it.

    Attributes:
        dtype: One of `DTYPES`.
        data_offsets: Where its elements begin and end, counted from the end of the header.
    """

    dtype: str
    shape: Annotated[list[_Count], msgspec.Meta(max_length=8)]
    data_offsets: tuple[_Count, _Count]

    @property
    def is_float(self) -> bool:
        """Whether its elements may be not finite."""
        return bool(np.dtype(DTYPES[self.dtype][1]).kind == "f")


class TensorFile:
    """A file whose header is as it should be."""

    def __init__(self, read: Read, size_bytes: int, *, max_header_bytes: int) -> None:
        """Read the header.

        Raises:
            Malformed: It is no such file.
        """
        self._read = read
        if size_bytes < LENGTH.size:
            raise Malformed("it ends before its header")
        head = read(0, LENGTH.size)
        (length,) = LENGTH.unpack(head)
        self._begin = LENGTH.size + length
        if length > max_header_bytes or self._begin > size_bytes:
            most = min(max_header_bytes, size_bytes)
            raise Malformed(f"its header would have {length} bytes; at most {most} can be", head)
        try:
            header = msgspec.convert(
                json.loads(read(LENGTH.size, self._begin), object_pairs_hook=_once), dict[str, Any]
            )
            header.pop("__metadata__", None)
            self.tensors = msgspec.convert(header, dict[str, Tensor])
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            why = str(error)[:200] or "it is nested too deeply"
            raise Malformed(f"its header does not parse ({why})") from error
        self._check(size_bytes)

    def parts(self, name: str) -> Iterator[NDArray[Any]]:
        """Give a tensor's elements in pieces.

        Raises:
            Malformed: The file ends too early.
        """
        tensor = self.tensors[name]
        start, end = (self._begin + offset for offset in tensor.data_offsets)
        for place in range(start, end, _PIECE_BYTES):
            data = self._read(place, min(place + _PIECE_BYTES, end))
            if len(data) != min(place + _PIECE_BYTES, end) - place:
                raise Malformed("it ends too early")
            yield np.frombuffer(data, np.dtype(DTYPES[tensor.dtype][1]))

    def is_finite(self, name: str) -> bool:
        """Tell whether a tensor has neither NaN nor infinite values.

        Raises:
            Malformed: The file ends too early.
        """
        return not self.tensors[name].is_float or all(bool(np.isfinite(part).all()) for part in self.parts(name))

    def _check(self, size_bytes: int) -> None:
        place = 0
        for name, tensor in sorted(self.tensors.items(), key=lambda one: one[1].data_offsets):
            if tensor.dtype not in DTYPES:
                raise Malformed(f"{name[:100]!r} is {tensor.dtype[:20]!r}; known are {', '.join(DTYPES)}")
            start, end = tensor.data_offsets
            if start != place or end - start != math.prod(tensor.shape) * item_bytes(tensor.dtype):
                raise Malformed(f"the elements of {name[:100]!r} are not where they should be")
            place = end
        if self._begin + place != size_bytes:
            raise Malformed(f"it has {size_bytes} bytes, and its header says {self._begin + place}")


def item_bytes(dtype: str) -> int:
    """Give how many bytes an element has.

    >>> item_bytes("F32")
    4
    """
    return int(np.dtype(DTYPES[dtype][1]).itemsize)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found
