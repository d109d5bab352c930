"""Images to another size as PyTorch and Pillow do it: half-pixel centres, a wider filter where an image shrinks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def bilinear(images: Floats, height: int, width: int) -> Floats:
    """Resample by a triangle that is as wide as the step between samples: antialiased where an image shrinks.

    Args:
        images: [n, height, width, channels].

    Source: PyTorch's `upsample_bilinear2d_aa`, Pillow's `Resample.c`; for growing images both are plain bilinear.
    """
    # Rows first: they lie together in memory.
    return _along(_along(images, height, 1), width, 2)


def nearest(images: Floats, height: int, width: int) -> Floats:
    """Take the pixel in which a new pixel's centre lies (PyTorch's `nearest-exact`)."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)  # exact, as a centre may lie between two pixels
        for new, old in ((height, images.shape[1]), (width, images.shape[2]))
    )
    return images[:, rows][:, :, columns]


def _along(images: Floats, size: int, axis: int) -> Floats:
    """Resample along one axis: a weighted sum of as many shifted pictures as the filter is wide."""
    old = images.shape[axis]
    if old == size:
        return images
    places, weights = _taps(old, size)
    shape: list[Any] = [1] * images.ndim
    shape[axis] = size
    summed = np.zeros((*images.shape[:axis], size, *images.shape[axis + 1 :]), np.float32)
    for place, weight in zip(places, weights, strict=True):
        summed += images.take(place, axis=axis) * weight.reshape(shape)
    return summed


def _taps(old: int, new: int) -> tuple[NDArray[np.int64], Floats]:
    """Give which old pixels go into each new one, and how much of each: [taps, new], the weights of one sum to 1."""
    step = old / new
    reach = max(step, 1.0)
    centres = (np.arange(new) + 0.5) * step
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    places = first + np.arange(int(np.ceil(reach)) * 2 + 1)[:, None]
    distances = np.abs(places + 0.5 - centres) / reach
    weights = np.where(places < old, np.maximum(1 - distances, 0), 0)
    return np.minimum(places, old - 1), (weights / weights.sum(axis=0)).astype(np.float32)
