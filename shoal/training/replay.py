"""Choosing samples of old knowledge to rehearse. numpy alone."""

import numpy as np
from numpy.typing import NDArray


def balanced_indices(y: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Give positions of at most `size` samples with the classes as even as they can be, in random order.

    A buffer of a device's own skewed labels breaks what it should protect, so it is drawn class by class, one of each
    in turn, until it is full or nothing is left.

    Args:
        y: Labels, [n].
        size: Wanted length, at least zero.
        seed: Same seed and labels, same buffer.

    >>> y = np.array([0] * 90 + [1] * 10)
    >>> np.bincount(y[balanced_indices(y, 16, seed=0)]).tolist()
    [8, 8]
    """
    random = np.random.default_rng(seed)
    by_class = [random.permutation(np.flatnonzero(y == label)) for label in np.unique(y)]
    depth = max((len(index) for index in by_class), default=0)
    in_turn = [index[row] for row in range(depth) for index in by_class if row < len(index)]
    return random.permutation(np.array(in_turn[:size], dtype=np.int64))
