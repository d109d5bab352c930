"""Tensors as the JSON bodies of the Open Inference Protocol v2 have them, on both ends."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shoal.runtimes.model import DTYPES, Array, BadModel, datatype_of
from shoal.wire.models import Datatype


def array_of(name: str, datatype: str, shape: Sequence[int], data: Any) -> Array:
    """Give the tensor of JSON numbers, nested or flat.

    Raises:
        BadModel: `input.bad_datatype`, `input.bad_shape`.
    """
    dtype = DTYPES[known_datatype(name, datatype)]
    try:
        values = np.asarray(data)
        if values.dtype.kind not in ("b" if dtype.kind == "b" else "iuf" if dtype.kind == "f" else "iu"):
            raise ValueError("they are other values")
        if dtype.kind in "iu" and values.size:
            limits = np.iinfo(dtype)
            if values.min() < limits.min or values.max() > limits.max:
                raise ValueError("a value is out of range")
        with np.errstate(over="ignore"):  # what is too large for the type becomes infinite, as in any other arithmetic
            return shaped(name, values.astype(dtype), shape)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _bad_shape(name, datatype, shape) from error


def known_datatype(name: str, datatype: str) -> Datatype:
    """Give a datatype by its word.

    Raises:
        BadModel: `input.bad_datatype`.
    """
    try:
        return Datatype(datatype)
    except ValueError as error:
        message = f"The input {name[:80]} is {datatype[:40]}; there are: {', '.join(Datatype)}."
        raise BadModel("input.bad_datatype", message) from error


def shaped(name: str, values: Array, shape: Sequence[int]) -> Array:
    """Give values their shape.

    Raises:
        BadModel: `input.bad_shape`.
    """
    try:
        if not shape or min(shape) < 1:
            raise ValueError("an axis is at least 1")
        return values.reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad_shape(name, str(values.dtype), shape) from error


def described(name: str, array: Array) -> dict[str, Any]:
    """Give a tensor's name, datatype and shape as an answer has them, without its data."""
    return {"name": name, "datatype": str(datatype_of(array.dtype, name)), "shape": list(array.shape)}


def _bad_shape(name: str, datatype: str, shape: Sequence[int]) -> BadModel:
    return BadModel("input.bad_shape", f"The data of {name[:80]} make no {datatype} tensor of shape {list(shape)[:8]}.")
