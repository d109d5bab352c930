"""The weights of an ONNX file's convolutions and linear maps, filter by filter; and their int8 form."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]

LAYERS: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # their second input is the weight
MAX_INT8: Final = 127  # symmetric: -128 is left out


@dataclass(frozen=True)
class Weight:
    """A weight.

    Attributes:
        axis: Of the filters.
    """

    name: str
    values: Floats
    axis: int

    def per_filter(self, figures: Floats) -> Floats:
        """Give one figure a filter in a shape that goes with the weight."""
        return figures.reshape([-1 if axis == self.axis else 1 for axis in range(self.values.ndim)])

    def largest(self) -> Floats:
        """Give the largest magnitude of each filter."""
        others = tuple(axis for axis in range(self.values.ndim) if axis != self.axis)
        found: Floats = np.abs(self.values).max(axis=others)
        return found


def weights_of(proto: ModelProto) -> Iterator[Weight]:
    """Give the float weights, each once, that only such layers use, and all in the same way."""
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    axes: dict[str, set[int]] = {}
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            if name in tensors:
                is_weight = node.op_type in LAYERS and place == 1
                axes.setdefault(name, set()).add(_filter_axis(node, tensors[name]) if is_weight else -1)
    for name, found in axes.items():
        tensor = tensors[name]
        if len(found) == 1 and -1 not in found and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            (axis,) = found
            yield Weight(name, numpy_helper.to_array(tensor), axis)


def to_eight_bits(proto: ModelProto, weight: Weight) -> list[NodeProto]:
    """Put int8 with a scale a filter in a weight's place; gives the nodes that make float of it, once, at load.

    By way of int32, as OpenVINO keeps what is int8 times a scale, and then rounds the layer's inputs to int8, too.
    """
    scale = np.maximum(weight.per_filter(weight.largest()) / np.float32(MAX_INT8), np.finfo(np.float32).tiny)
    codes = np.clip(np.round(weight.values / scale), -MAX_INT8, MAX_INT8).astype(np.int8)
    name = weight.name
    swap(proto, name, {f"{name}.int8": codes, f"{name}.scale": scale.astype(np.float32)})
    return [
        make_node("Cast", [f"{name}.int8"], [f"{name}.int32"], to=TensorProto.INT32),
        make_node("Cast", [f"{name}.int32"], [f"{name}.whole"], to=TensorProto.FLOAT),
        make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name]),
    ]


def swap(proto: ModelProto, name: str, tensors: dict[str, NDArray[Any]]) -> None:
    """Put constants in the place of one."""
    (old,) = [tensor for tensor in proto.graph.initializer if tensor.name == name]
    proto.graph.initializer.remove(old)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())


def put_first(proto: ModelProto, nodes: list[NodeProto]) -> None:
    """Put nodes before those of the graph."""
    nodes = [*nodes, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def make_node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    """Make a node that is named after what it gives."""
    return helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}.{kind}", **attributes)


def _filter_axis(node: NodeProto, tensor: TensorProto) -> int:
    if node.op_type in ("Conv", "ConvTranspose"):
        return 0 if node.op_type == "Conv" else 1
    is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if is_transposed else len(tensor.dims) - 1
