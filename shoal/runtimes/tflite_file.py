"""Reads of a `.tflite` file what must be known before it is run. It may be hostile: every offset is checked.

Source: FlatBuffers' binary format (flatbuffers.dev/internals), TensorFlow Lite's schema.fbs, version 3.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal.runtimes.model import BadModel

_IDENTIFIER: Final = b"TFL3"
_MAX_ITEMS: Final = 1_000_000  # of a vector: more operators or tensors has no model
_INT8: Final = (3, 9)  # TensorType: UINT8, INT8
_PAD: Final = (34, 60)  # BuiltinOperator: PAD, PADV2


@dataclass(frozen=True, kw_only=True)
class TfLiteFile:
    """What a file holds.

    Attributes:
        operators: Numbers of the built-in operators, as the schema has them.
        per_channel: Names of the 8-bit tensors with one scale a channel.
        padded_int8: Names of the 8-bit tensors that a PAD operator reads.
    """

    operators: frozenset[int]
    per_channel: tuple[str, ...]
    padded_int8: tuple[str, ...]


def read_tflite(path: Path) -> TfLiteFile:
    """Read a file.

    Raises:
        BadModel: `model.not_loadable`.
    """
    data = path.read_bytes()
    if data[4:8] != _IDENTIFIER:
        raise BadModel("model.not_loadable", "It is no .tflite file.")
    try:
        return _read(_Table.root(data))
    except (struct.error, ValueError, IndexError, RecursionError) as error:
        raise BadModel("model.not_loadable", f"It is a damaged .tflite file: {error}") from error


class _Table:
    """A table of a FlatBuffers file; an absent field is its default."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        self._fields = place - self._number("<i", place)
        self._size = self._number("<H", self._fields)

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        (place,) = struct.unpack_from("<I", data, 0)
        return cls(data, place)

    def integer(self, field: int, kind: str) -> int:
        place = self._field(field)
        return 0 if place is None else self._number(kind, place)

    def table(self, field: int) -> "_Table | None":
        place = self._field(field)
        return None if place is None else _Table(self._data, place + self._number("<I", place))

    def tables(self, field: int) -> "list[_Table]":
        start, count = self._vector(field)
        places = range(start, start + 4 * count, 4)
        return [_Table(self._data, place + self._number("<I", place)) for place in places]

    def integers(self, field: int) -> list[int]:
        start, count = self._vector(field)
        return [self._number("<i", start + 4 * index) for index in range(count)]

    def count(self, field: int) -> int:
        return self._vector(field)[1]

    def text(self, field: int) -> str:
        start, count = self._vector(field)
        return self._data[start : start + count].decode(errors="replace")[:200]

    def _field(self, number: int) -> int | None:
        offset = 4 + 2 * number
        if offset + 2 > self._size:
            return None
        here = self._number("<H", self._fields + offset)
        return self._place + here if here else None

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._field(field)
        if place is None:
            return 0, 0
        place += self._number("<I", place)
        count = self._number("<I", place)
        if count > _MAX_ITEMS:
            raise ValueError(f"a vector has {count} items")
        return place + 4, count

    def _number(self, kind: str, place: int) -> int:
        if place < 0:
            raise ValueError("an offset points before the file")
        (number,) = struct.unpack_from(kind, self._data, place)
        return int(number)


def _read(model: _Table) -> TfLiteFile:
    codes = [_operator(code) for code in model.tables(1)]
    per_channel: list[str] = []
    padded: list[str] = []
    used: set[int] = set()
    graphs = model.tables(2)
    if not graphs:
        raise ValueError("it has no graph")
    for graph in graphs:
        tensors = graph.tables(0)
        is_int8 = [tensor.integer(1, "<b") in _INT8 for tensor in tensors]
        for tensor, is_one in zip(tensors, is_int8, strict=True):
            quantization = tensor.table(4)
            if is_one and quantization is not None and quantization.count(2) > 1:
                per_channel.append(tensor.text(3))
        for operator in graph.tables(3):
            code = codes[operator.integer(0, "<I")]
            used.add(code)
            first = next(iter(operator.integers(1)), -1)
            if code in _PAD and 0 <= first < len(tensors) and is_int8[first]:
                padded.append(tensors[first].text(3))
    return TfLiteFile(operators=frozenset(used), per_channel=tuple(per_channel), padded_int8=tuple(padded))


def _operator(code: _Table) -> int:
    """Give an operator's number: the newer field, or the older one where the newer is not written."""
    return max(code.integer(3, "<i"), code.integer(0, "<b"))
