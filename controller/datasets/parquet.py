"""Parquet: a table whose columns are features and a label, or tensors by name. Runs inside the sandbox.

Columns `x` or `x.<input>`, `y` or `y.<name>` and `at` are those tensors; where there is no such x, all other columns
are the features of one sample, in their order. Lists in a column have one length, and lists of lists are axes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from controller.artifacts.dataset_file import DatasetTensor
from controller.datasets.source import Refused, Source, Wanted, check_sizes, datatype_of
from shoal.runtimes.model import DTYPES

_MAX_COLUMNS: Final = 100_000
_MAX_CLASSES: Final = 10_000
_PIECE_BYTES: Final = 4 * 2**20
_MOST_ROWS: Final = 65_536
_STRING_BYTES: Final = 100 * 2**20  # of the file's own description
_AXES: Final = 7


@dataclass(frozen=True)
class _Tensor:
    """A tensor, and the columns that it is made of; several are the features of a sample."""

    tensor: DatasetTensor
    columns: list[str]
    is_of_names: bool = False


class Table:
    """An opened Parquet file."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        """Look at what it holds.

        Raises:
            Refused: `dataset.malformed`, `dataset.no_column`, `dataset.bad_column`, `dataset.too_large`, ...
        """
        try:
            self._file = parquet.ParquetFile(
                path, thrift_string_size_limit=_STRING_BYTES, page_checksum_verification=True
            )
            names = list(self._file.schema_arrow.names)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(error) from error
        if len(set(names)) < len(names) or len(names) > _MAX_COLUMNS:
            raise Refused("dataset.malformed", f"Its columns have no names of their own, or are above {_MAX_COLUMNS}.")
        self._wanted = wanted
        self._rows = int(self._file.metadata.num_rows)
        if not self._rows:
            raise Refused("dataset.malformed", "The table has no rows.")
        self.class_labels: list[str] = []
        self._made = sorted(self._plan(names), key=lambda one: -one.tensor.item_bytes)
        self.tensors = [one.tensor for one in self._made]
        check_sizes(self.tensors)

    def elements(self) -> Iterator[bytes]:
        """Give the elements, see `Source`."""
        for one in self._made:
            dtype = DTYPES[one.tensor.datatype]
            rows = 0
            for batch in self._batches(one.columns, max(1, _PIECE_BYTES * self._rows // max(one.tensor.size_bytes, 1))):
                array = self._values(batch, one)
                if list(array.shape[1:]) != one.tensor.shape[1:]:
                    message = (
                        f"{one.columns[0]} has {list(array.shape[1:])} in one row and {one.tensor.shape[1:]} before."
                    )
                    raise Refused("dataset.bad_column", message)
                rows += len(array)
                yield array.astype(dtype).tobytes()
            if rows != self._rows:
                raise Refused("dataset.malformed", f"The table has {rows} rows, and says {self._rows}.")

    def _plan(self, names: list[str]) -> list[_Tensor]:
        label = self._wanted.label_column
        if label is not None and label not in names:
            raise Refused("dataset.no_column", f"There is no column {label}; there are {', '.join(names)}"[:400])
        special = [name for name in names if name != label and _is_tensor(name)]
        others = [name for name in names if name != label and name not in special]
        made = [self._named(name, [name]) for name in special]
        if not any(one.tensor.name.partition(".")[0] == "x" for one in made):
            if not others:
                raise Refused("dataset.malformed", "The table has no column but the labels.")
            made.insert(0, self._named("x", others))
        elif others:
            message = f"{others[0]} is neither x nor y; drop it, or name the tensors otherwise."
            raise Refused("dataset.bad_column", message)
        if label is not None:
            if any(one.tensor.name.partition(".")[0] == "y" for one in made):
                raise Refused("dataset.bad_column", f"There is y, and {label} shall be y; one of the two.")
            made.append(self._named("y", [label]))
        return made

    def _named(self, name: str, columns: list[str]) -> _Tensor:
        kind = self._file.schema_arrow.field(columns[0]).type
        if name == "y" and (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
            self.class_labels = list(self._wanted.class_labels) or self._classes(columns[0])
            tensor = DatasetTensor(name=name, datatype=datatype_of(name, np.dtype(np.int64), ()), shape=[self._rows])
            return _Tensor(tensor, columns, is_of_names=True)
        first = next(self._batches(columns, 1), None)
        if first is None:
            raise Refused("dataset.malformed", "The table has no rows.")
        found = _stacked(first, columns)
        dtype = np.dtype(np.float64) if len(columns) > 1 else found.dtype
        if name == "x" and found.ndim == 1:
            found = found[:, None]
        if name == "at":
            dtype = np.dtype(np.int64)
        shape = [self._rows, *map(int, found.shape[1:])]
        return _Tensor(
            DatasetTensor(name=name, datatype=datatype_of(name, dtype, self._wanted.inputs), shape=shape), columns
        )

    def _values(self, batch: pa.RecordBatch, one: _Tensor) -> NDArray[Any]:
        if one.is_of_names:
            return self._numbers(batch.column(one.columns[0]), one.columns[0])
        array = _stacked(batch, one.columns)
        if array.dtype.kind == "M":
            return array.astype("datetime64[us]").astype(np.int64)
        return array[:, None] if one.tensor.name == "x" and array.ndim == 1 else array

    def _numbers(self, column: pa.Array, name: str) -> NDArray[Any]:
        places = {label: place for place, label in enumerate(self.class_labels)}
        values = column.to_pylist()
        if strange := next((value for value in values if value not in places), None):
            raise Refused("dataset.unknown_class", f"{name} says {strange!r}, which is no class."[:300])
        if None in values:
            raise Refused("dataset.bad_column", f"{name} has rows without a value.")
        return np.array([places[value] for value in values], np.int64)

    def _classes(self, column: str) -> list[str]:
        found: set[str] = set()
        for batch in self._batches([column], _MOST_ROWS):
            found.update(value for value in pc.unique(batch.column(column)).to_pylist() if isinstance(value, str))
            if len(found) > _MAX_CLASSES:
                raise Refused("dataset.bad_column", f"{column} has more than {_MAX_CLASSES} different values.")
        return sorted(found)

    def _batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._file.iter_batches(min(rows, _MOST_ROWS), columns=columns, use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(error) from error


def _stacked(batch: pa.RecordBatch, columns: Sequence[str]) -> NDArray[Any]:
    """Give the samples of a batch: one column as it is, several as features."""
    arrays = [_dense(batch.column(name), name, 0) for name in columns]
    if len(arrays) == 1:
        return arrays[0]
    if bad := next((name for name, one in zip(columns, arrays, strict=True) if one.ndim > 1), None):
        message = f"{bad} holds lists, and there are other columns: name what is what, such as x and y."
        raise Refused("dataset.bad_column", message)
    return np.stack([one.astype(np.float64) for one in arrays], axis=1)


def _dense(column: pa.Array, name: str, depth: int) -> NDArray[Any]:
    """Give an array of a column, its lists as axes."""
    if column.null_count:
        raise Refused("dataset.bad_column", f"{name} has rows without a value.")
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = set(pc.unique(pc.list_value_length(column)).to_pylist())
        if len(lengths) != 1 or depth >= _AXES:
            raise Refused("dataset.bad_column", f"{name} has lists of different lengths, or is nested too deeply.")
        inner = _dense(column.flatten(), name, depth + 1)
        return inner.reshape(len(column), lengths.pop(), *inner.shape[1:])
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not is_number and not pa.types.is_timestamp(kind):
        raise Refused("dataset.bad_column", f"{name} is {kind}, and no number; drop it, or say --label-column."[:300])
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _is_tensor(name: str) -> bool:
    return name in ("x", "y", "at") or name[:2] in ("x.", "y.")


def _damaged(error: Exception) -> Refused:
    return Refused("dataset.malformed", f"The file is no Parquet file, or a damaged one: {str(error)[:300]}")


def open_file(path: Path, wanted: Wanted) -> Source:
    """Open a file of this format."""
    return Table(path, wanted)
