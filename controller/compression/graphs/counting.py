"""What an inference of an ONNX file costs, counted in its graph: as `layers.cost` counts a program."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx
from onnx import NodeProto, TensorProto

from controller.compression.graphs.weights import LAYERS
from controller.compression.networks.refused import Refused

_FLOATS: Final = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})

Shapes = Mapping[str, Sequence[int]]


def count(model: bytes, sizes: Mapping[str, Sequence[int]]) -> dict[str, int | None]:
    """Give `macs` of one inference, of convolutions and linear maps, and `parameters`, of float tensors that are kept.

    Args:
        sizes: Of a sample, by input name, in the order of the file's inputs.

    Returns:
        `macs` is None where a layer's sizes are not known before it runs.

    Raises:
        Refused: `quantize.failed`: the file does not parse.
    """
    try:
        proto = onnx.load_from_string(model)
        weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        inputs = [value for value in proto.graph.input if value.name not in weights]
        for value, size in zip(inputs, sizes.values(), strict=True):
            for axis, length in zip(value.type.tensor_type.shape.dim, (1, *size), strict=True):
                axis.dim_value = length
        del proto.graph.value_info[:]  # they may say that an axis is free
        for value in proto.graph.output:
            value.type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except MemoryError:
        raise
    except Exception as error:  # whatever a file makes the library do
        raise Refused("quantize.failed", f"The file cannot be counted: {type(error).__name__}: {error}") from error
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    found = [
        _macs(node, list(weights[node.input[1]].dims), shapes)
        for node in proto.graph.node
        if node.op_type in LAYERS and len(node.input) > 1 and node.input[1] in weights
    ]
    parameters = sum(math.prod(tensor.dims) for tensor in weights.values() if tensor.data_type in _FLOATS)
    macs = None if None in found else sum(one for one in found if one is not None)
    return {"macs": macs, "parameters": parameters}


def _macs(node: NodeProto, weight: Sequence[int], shapes: Shapes) -> int | None:
    """Give those of a layer: each weight is used once at each position, of the output or, transposed, of the input."""
    is_turned = node.op_type == "ConvTranspose"
    shape = shapes.get(node.input[0] if is_turned else node.output[0], [])
    if not shape or 0 in shape:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        return math.prod(shape[2:]) * math.prod(weight)
    return math.prod(shape[:-1]) * math.prod(weight)
