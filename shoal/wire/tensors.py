"""Named tensors as safetensors bytes, never pickle. The only module of `shoal.wire` that imports numpy.

Every reader states what it expects: bytes from a device are checked for names, shapes, dtype and finite values
before any sum sees them.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shoal.wire.errors import WireError

Tensors = dict[str, NDArray[Any]]

MAX_ABS_WEIGHT: Final = 1024.0  # of any element of an update: keeps the exact sum of a round inside 63 bits


def encode_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Give the safetensors bytes of named arrays."""
    # Not ascontiguousarray: that makes a scalar an array of one axis.
    return bytes(save({name: np.asarray(array, order="C") for name, array in tensors.items()}))


def decode_tensors(data: bytes) -> Tensors:
    """Give the named arrays in safetensors bytes.

    Raises:
        WireError: `tensors.malformed`.
    """
    try:
        return dict(load(data))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WireError("tensors.malformed", f"Not a safetensors file: {error}") from error


def check_update(update: Mapping[str, NDArray[Any]], like: Mapping[str, NDArray[Any]], *, max_abs: float) -> None:
    """Refuse an update that would spoil an average.

    Args:
        update: What a device sent.
        like: The weights that it started from: same names, shapes and float32 are expected.
        max_abs: Largest magnitude of any element.

    Raises:
        WireError: `update.names`, `update.shape`, `update.dtype`, `update.not_finite`, `update.out_of_range`.
    """
    if update.keys() != like.keys():
        odd = sorted(update.keys() ^ like.keys())[:3]
        raise WireError("update.names", f"The update's tensors differ from the round's weights: {', '.join(odd)}.")
    for name, array in update.items():
        if array.shape != like[name].shape:
            raise WireError("update.shape", f"{name} has shape {array.shape}, the round's weights {like[name].shape}.")
        if array.dtype != np.float32:
            raise WireError("update.dtype", f"{name} is {array.dtype}, not float32.")
        if not np.isfinite(array).all():
            raise WireError("update.not_finite", f"{name} has NaN or infinite values.")
        if array.size and float(np.abs(array).max()) > max_abs:
            raise WireError("update.out_of_range", f"{name} has a value beyond {max_abs}.")
