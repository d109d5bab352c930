"""Nets as two `torch.export` programs, one for training and one for evaluation, with the weights beside them.

Loading a program can run code, pickles or not: `load_program` is for bytes whose digest came in a signed message, or
for a sandboxed process. What travels back is safetensors only.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shoal.wire.tensors import decode_tensors, encode_tensors

_BATCH_COUNT: Final = "num_batches_tracked"


@dataclass(frozen=True)
class ProgramFiles:
    """A net as bytes.

    Attributes:
        train_program, eval_program: `.pt2` of `forward(x) -> logits`, batch size free; state_dict keys are equal.
        weights: safetensors with those keys.
    """

    train_program: bytes
    eval_program: bytes
    weights: bytes


class WeightsMismatch(ValueError):
    """Weights whose names or shapes are not the program's."""


def export_programs(net: nn.Module, example: Tensor) -> ProgramFiles:
    """Export a net in training and in evaluation mode; its mode afterwards is evaluation.

    Args:
        example: A batch of two or more: a batch of one would be specialised away. Only its shape and dtype are used;
            no value of it gets into the files.
    """
    if example.shape[0] < 2:
        raise ValueError("export needs an example batch of two or more")
    weights = encode_tensors(weights_of(net))
    return ProgramFiles(_export(net.train(), example), _export(net.eval(), example), weights)


def load_program(data: bytes) -> nn.Module:
    """Give the net of a `.pt2`. This can run code: see the module's docstring."""
    return torch.export.load(io.BytesIO(data)).module()


def weights_of(net: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Give a copy of the net's weights, float32, by state_dict key.

    Batch normalisation's count of batches is given as zero: it is no weight, an average of it means nothing, and after
    1,024 batches it would be refused as one. Only a net that averages its statistics without momentum would miss it.
    """
    weights = {name: value.detach().to(torch.float32).numpy().copy() for name, value in net.state_dict().items()}
    return {name: np.zeros_like(array) if name.endswith(_BATCH_COUNT) else array for name, array in weights.items()}


def set_weights(net: nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy weights into a net.

    Raises:
        WeightsMismatch: Names or shapes differ from the net's.
    """
    state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsMismatch(f"The weights do not fit the program: {error}") from error


def read_weights(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Give the arrays of a weights file.

    Raises:
        shoal.wire.errors.WireError: `tensors.malformed`.
    """
    return {name: np.asarray(array, dtype=np.float32) for name, array in decode_tensors(data).items()}


def _export(net: nn.Module, example: Tensor) -> bytes:
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (torch.zeros_like(example),), dynamic_shapes=({0: batch},))
    # Saving would write the example inputs, and for a slice the whole tensor behind it.
    program._example_inputs = None
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()
