"""The port that every runtime implements."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]


class BadModel(Exception):
    """A model, an input or a runtime that cannot be used here.

    Attributes:
        code: Stable, dotted: `model.not_loadable`, `runtime.missing`, `input.bad_shape`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model's signature.

    Attributes:
        datatype: In the Open Inference Protocol's words: `FP32`.
        shape: -1 where the axis is dynamic.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class LoadedModel(Protocol):
    """A model in memory, ready to infer. Not thread-safe: its owner runs one inference at a time."""

    input: TensorSpec
    output: TensorSpec

    def infer(self, batch: Tensor) -> Tensor:
        """Give the outputs of a batch.

        Args:
            batch: [samples, *input shape].

        Returns:
            [samples, classes].

        Raises:
            BadModel: `input.bad_shape`.
        """

    def close(self) -> None:
        """Give the memory back."""


class Runtime(Protocol):
    """Opens models."""

    def open(self, data: bytes, *, threads: int = 1) -> LoadedModel:
        """Load a model from its bytes.

        Raises:
            BadModel: `model.not_loadable`, `model.bad_signature`.
        """


def check_signature(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> tuple[TensorSpec, TensorSpec]:
    """Give the one input and the one output.

    Raises:
        BadModel: `model.bad_signature`.
    """
    if len(inputs) != 1 or len(outputs) != 1 or {inputs[0].datatype, outputs[0].datatype} != {"FP32"}:
        raise BadModel("model.bad_signature", "A model has one FP32 input and one FP32 output.")
    return inputs[0], outputs[0]


def check_batch(batch: Tensor, spec: TensorSpec) -> Tensor:
    """Give the batch as the runtimes want it.

    Raises:
        BadModel: `input.bad_shape`.
    """
    fits = batch.ndim == len(spec.shape) and all(
        wanted in (-1, got) for wanted, got in zip(spec.shape, batch.shape, strict=True)
    )
    if not fits or not batch.size:
        raise BadModel("input.bad_shape", f"The input has shape {list(batch.shape)}, wanted is {list(spec.shape)}.")
    return np.ascontiguousarray(batch, dtype=np.float32)
