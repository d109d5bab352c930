"""npz: arrays of NumPy in a zip file, without pickle. Runs inside the sandbox.

Source: numpy.lib.format, NumPy Enhancement Proposal 1.
"""

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from controller.artifacts.dataset_file import DatasetTensor
from controller.datasets import archive as archives
from controller.datasets.source import Refused, Source, Wanted, check_sizes, datatype_of
from shoal.runtimes.model import DTYPES

_MAGIC: Final = b"\x93NUMPY"
_PIECE_ELEMENTS: Final = 2**18
_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MOST: Final = 64


@dataclass(frozen=True)
class _Array:
    entry: zipfile.ZipInfo
    dtype: "np.dtype[Any]"
    tensor: DatasetTensor


class Npz:
    """An opened npz file: `x` or `x.<input>`, `y` or `y.<name>`, `at`."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        """Look at what it holds.

        Raises:
            Refused: `dataset.malformed`, `dataset.pickled`, `dataset.too_large`, `dataset.bomb`.
        """
        self.class_labels: list[str] = []
        self._archive = archives.open_archive(path)
        entries = self._archive.infolist()
        if not entries or len(entries) > _MOST:
            raise Refused("dataset.malformed", f"It holds {len(entries)} arrays; there are 1 to {_MOST} of them.")
        arrays = [self._look_at(entry, wanted) for entry in entries]
        self._arrays = sorted(arrays, key=lambda one: (-one.tensor.item_bytes, one.tensor.name))
        self.tensors = [one.tensor for one in self._arrays]
        check_sizes(self.tensors)

    def elements(self) -> Iterator[bytes]:
        """Give the elements, see `Source`."""
        for array in self._arrays:
            with archives.opened(self._archive, array.entry) as file:
                _header(file, array.entry.filename)
                yield from self._elements(file, array)

    def _elements(self, file: IO[bytes], array: _Array) -> Iterator[bytes]:
        wanted = DTYPES[array.tensor.datatype]
        left = math.prod(array.tensor.shape) * array.dtype.itemsize
        while left:
            size = min(left, _PIECE_ELEMENTS * array.dtype.itemsize)
            data = archives.read(file, size, array.entry.filename)
            if len(data) != size:
                raise Refused("dataset.malformed", f"{array.entry.filename} ends too early.")
            left -= size
            yield np.frombuffer(data, array.dtype).astype(wanted).tobytes()
        archives.read(file, 1, array.entry.filename)  # at the end the checksum is compared

    def _look_at(self, entry: zipfile.ZipInfo, wanted: Wanted) -> _Array:
        name = entry.filename.removesuffix(".npy")
        shown = archives.said(name)
        if name == entry.filename or not (name in ("x", "y", "at") or name[:2] in ("x.", "y.")):
            raise Refused("dataset.malformed", f"It holds {shown}; known are x, x.<input>, y, y.<name> and at.")
        with archives.opened(self._archive, entry) as file:
            shape, is_by_columns, dtype = _header(file, entry.filename)
            begin = file.tell()
        tensor = DatasetTensor(name=name, datatype=datatype_of(name, dtype, wanted.inputs), shape=shape)
        if is_by_columns and len(shape) > 1:
            message = f"{shown} is stored column by column; save numpy.ascontiguousarray of it."
            raise Refused("dataset.malformed", message)
        if not shape or entry.file_size != begin + math.prod(shape) * dtype.itemsize:
            raise Refused("dataset.malformed", f"{shown} has not the size that its header says.")
        return _Array(entry, dtype, tensor)


def _header(file: IO[bytes], name: str) -> tuple[list[int], bool, "np.dtype[Any]"]:
    """Read an array's header; no object is made of it."""
    magic = archives.read(file, len(_MAGIC) + 2, name)
    if not magic.startswith(_MAGIC):
        if magic[:1] == b"\x80":
            raise Refused("dataset.pickled", f"{archives.said(name)} is a pickle, which is code; save numbers.")
        raise Refused("dataset.malformed", f"{archives.said(name)} is no array of NumPy.")
    reader = _READERS.get((magic[-2], magic[-1]))
    if reader is None:
        raise Refused("dataset.malformed", f"{archives.said(name)} has an unknown version of the format.")
    try:
        shape, is_by_columns, dtype = reader(file)  # bounded to 10,000 bytes, which are literals
    except Exception as error:  # whatever an invented header makes its parser do
        raise Refused("dataset.malformed", f"{archives.said(name)} has a header that does not parse.") from error
    if dtype.hasobject:
        raise Refused(
            "dataset.pickled", f"{archives.said(name)} holds Python objects, which come by pickle; save numbers."
        )
    return [int(axis) for axis in shape], bool(is_by_columns), dtype


def open_file(path: Path, wanted: Wanted) -> Source:
    """Open a file of this format."""
    return Npz(path, wanted)
