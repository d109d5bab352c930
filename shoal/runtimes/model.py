"""The port that every runtime implements."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.wire.models import Datatype, Signature, TensorSpec

Array = NDArray[Any]

NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})
DTYPES: Final[Mapping[Datatype, np.dtype[Any]]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
}
_DATATYPES: Final = {dtype: datatype for datatype, dtype in DTYPES.items()}


class BadModel(Exception):
    """A model, an input or a runtime that cannot be used here.

    Attributes:
        code: Stable, dotted: `model.not_loadable`, `runtime.missing`, `input.bad_shape`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LoadedModel(Protocol):
    """A model in memory, ready to infer. Not thread-safe: its owner runs one inference at a time."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Give the outputs of a batch, in the order of `outputs`.

        Args:
            inputs: One array an input, samples first, of exactly its datatype and shape.

        Raises:
            BadModel: `input.unknown`, `input.bad_datatype`, `input.bad_shape`, `input.not_finite`, `model.failed`,
                `model.bad_outputs`.
        """

    def close(self) -> None:
        """Give the memory back."""


class Runtime(Protocol):
    """Opens models."""

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file.

        Args:
            signature: What the model is to take and give; None: what the file says itself.
            options: As the back end's file documents them.

        Raises:
            BadModel: `model.not_loadable`, `model.not_supported`, `model.bad_signature`, `runtime.bad_option`.
        """


def datatype_of(dtype: Any, tensor: str) -> Datatype:
    """Give the datatype of a NumPy type.

    Raises:
        BadModel: `model.not_supported`.
    """
    found = _DATATYPES.get(np.dtype(dtype))
    if found is None:
        raise BadModel("model.not_supported", f"The tensor {tensor} has elements of {np.dtype(dtype)}.")
    return found


def check_options(options: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse options that a back end does not have.

    Raises:
        BadModel: `runtime.bad_option`.
    """
    for name in options:
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise BadModel("runtime.bad_option", f"There is no option {name[:40]!r} of this runtime; it has: {has}.")


def check_choice(option: str, value: str, available: Collection[str]) -> None:
    """Refuse a value of an option that is not available here.

    Raises:
        BadModel: `runtime.bad_option`.
    """
    if value not in available:
        message = f"{option} {value[:80]!r} is not available here; available are: {', '.join(sorted(available))}."
        raise BadModel("runtime.bad_option", message)
