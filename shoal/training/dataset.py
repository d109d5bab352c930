"""Local data on a device: a folder of safetensors shards with a JSON header. numpy alone, never pickle.

A shard has `x` (float32, samples first), `y` (int64 labels, one a sample) and may have `at` (int64, microseconds since
1970 UTC, one a sample). Whoever labels puts shards there; a shard gets its name after it is whole, so a reader never
sees half of one.
"""

import os
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.wire.errors import WireError
from shoal.wire.tensors import Tensors, decode_tensors, encode_tensors

HEADER: Final = "dataset.json"
MAX_SHARD_BYTES: Final = 512 * 1024**2
MAX_DATASET_BYTES: Final = 2 * 1024**3  # is read into memory as a whole


class BadDataset(Exception):
    """Local data that cannot be used.

    Attributes:
        code: `dataset.not_found`, `dataset.empty`, `dataset.malformed`, `dataset.too_large`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Header(msgspec.Struct):
    v: int
    sample_shape: list[int]


@dataclass(frozen=True)
class LocalSamples:
    """Labelled samples: `x` float32 [n, ...], `y` int64 [n], `at` int64 [n] in microseconds (0: not known)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


def write_shard(
    folder: Path, x: NDArray[np.float32], y: NDArray[np.int64], at: NDArray[np.int64] | None = None
) -> Path:
    """Add samples to a data set, making it if it is not there; gives the shard's file.

    Raises:
        BadDataset: `dataset.malformed`, also where the samples' shape is not the data set's; `dataset.too_large`.
    """
    tensors: Tensors = {"x": x, "y": y} if at is None else {"x": x, "y": y, "at": at}
    folder.mkdir(parents=True, exist_ok=True)
    header = _read_header(folder) or _Header(v=1, sample_shape=list(x.shape[1:]))
    _check(tensors, header, "the new shard")
    data = encode_tensors(tensors)
    if len(data) > MAX_SHARD_BYTES:
        raise BadDataset("dataset.too_large", f"A shard has at most {MAX_SHARD_BYTES} bytes, this one {len(data)}.")
    if not (folder / HEADER).exists():
        _write(folder / HEADER, msgspec.json.encode(header))
    path = folder / f"{time.time_ns():020}-{secrets.token_hex(4)}.safetensors"
    _write(path, data)
    return path


def read_dataset(folder: Path, since: datetime | None = None) -> LocalSamples:
    """Give the samples of a data set in the order of its shards; with `since` only those that were taken then or later.

    Raises:
        BadDataset: `dataset.not_found`, `dataset.malformed`, `dataset.too_large`.
    """
    header = _read_header(folder)
    if header is None:
        raise BadDataset("dataset.not_found", f"There is no data set {folder.name} on this device.")
    parts = [_read_shard(path, header) for path in _shards(folder)]
    shape = (0, *header.sample_shape)
    empty = LocalSamples(np.zeros(shape, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    found = LocalSamples(
        np.concatenate([empty.x, *(part.x for part in parts)]),
        np.concatenate([empty.y, *(part.y for part in parts)]),
        np.concatenate([empty.at, *(part.at for part in parts)]),
    )
    if since is None:
        return found
    is_new = found.at >= int(since.timestamp() * 1_000_000)
    return LocalSamples(found.x[is_new], found.y[is_new], found.at[is_new])


def fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Give what changes when a data set does, without reading its shards."""
    stats = [(path.name, path.stat()) for path in _shards(folder)]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _shards(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.safetensors"))
    sizes = [path.stat().st_size for path in paths]
    if sum(sizes) > MAX_DATASET_BYTES or max(sizes, default=0) > MAX_SHARD_BYTES:
        message = f"A data set has at most {MAX_DATASET_BYTES} bytes, each of its shards {MAX_SHARD_BYTES}."
        raise BadDataset("dataset.too_large", message)
    return paths


def _read_header(folder: Path) -> _Header | None:
    try:
        header = msgspec.json.decode((folder / HEADER).read_bytes(), type=_Header)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise BadDataset("dataset.malformed", f"{HEADER} of {folder.name} does not parse: {error}") from error
    if header.v != 1:
        raise BadDataset("dataset.malformed", f"{HEADER} of {folder.name} is of version {header.v}, known is 1.")
    return header


def _read_shard(path: Path, header: _Header) -> LocalSamples:
    try:
        tensors = decode_tensors(path.read_bytes())
    except WireError as error:
        raise BadDataset("dataset.malformed", f"{path.name}: {error}") from error
    _check(tensors, header, path.name)
    at = tensors.get("at")
    return LocalSamples(tensors["x"], tensors["y"], np.zeros(len(tensors["y"]), np.int64) if at is None else at)


def _check(tensors: Tensors, header: _Header, what: str) -> None:
    if not {"x", "y"} <= tensors.keys():
        raise BadDataset("dataset.malformed", f"{what} lacks x or y.")
    x = tensors["x"]
    if x.dtype != np.float32 or list(x.shape[1:]) != header.sample_shape or not np.isfinite(x).all():
        wanted = f"finite float32 samples of shape {header.sample_shape}"
        raise BadDataset("dataset.malformed", f"x of {what} is {x.dtype} {list(x.shape)}; wanted are {wanted}.")
    for name in ("y", "at"):
        if name in tensors and not _is_count(tensors[name], len(x)):
            raise BadDataset("dataset.malformed", f"{name} of {what} is not int64, one value >= 0 a sample.")


def _is_count(array: NDArray[Any], samples: int) -> bool:
    return array.dtype == np.int64 and array.shape == (samples,) and bool((array >= 0).all())


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
