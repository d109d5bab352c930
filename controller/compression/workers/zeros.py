"""Inputs of nothing, to see whether a model runs at all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.runtimes.model import DTYPES
from shoal.wire.models import TensorSpec


def zeros_of(spec: TensorSpec, samples: int, free: int) -> NDArray[Any]:
    """Give zeros for an input; axes other than the samples' are `free` long where they are free.

    >>> from shoal.wire.models import Datatype
    >>> zeros_of(TensorSpec(name="x", datatype=Datatype.UINT8, shape=[-1, 3, -1]), 2, 8).shape
    (2, 3, 8)
    """
    first = samples if spec.shape[0] == -1 else spec.shape[0]
    return np.zeros((first, *(free if axis == -1 else axis for axis in spec.shape[1:])), DTYPES[spec.datatype])
