"""Taking out of an ONNX file what says nothing, or says it twice; what it computes stays the same, within rounding.

Quantizers write long names, a zero point of zeros for each weight, and for each bias a scale that is the product of two
others. The scales of many filters are kept in 16 bits each, by their logarithms: with their nodes the file of one scale
a filter is then no larger than what ONNX Runtime's quantizer writes with one scale a layer.

What the graph can make of the rest is made when the model is loaded: no input takes part in it, so ONNX Runtime and
OpenVINO fold it into constants before they look for quantized layers.
"""

from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from controller.compression.graphs.weights import make_node, put_first, swap, to_eight_bits, weights_of

_FEWEST: Final = 32  # figures of a constant, below which a node costs more than it saves
_SAME: Final = 1e-5  # relative
_FEWEST_SCALES: Final = 96  # below which the nodes cost more than half of each scale
_MOST_STEPS: Final = 2**16 - 1
_WIDEST: Final = 1e9  # of scales, the largest by the smallest; then one moves by 0.02 % at most: a 50th of a step


def slim(proto: ModelProto) -> ModelProto:
    """Take away what says nothing: zero points of zero, doubled constants, and what the tools write into names."""
    graph = proto.graph
    proto.producer_name, proto.doc_string = "shoal", ""
    del proto.metadata_props[:]
    del graph.value_info[:]
    _derive_scales(proto)
    _shorten_scales(proto)
    _share_constants(graph)
    kept = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {"": ""}

    def short(name: str) -> str:
        if name in kept:
            return name
        if name not in names:
            number = len(names)
            while f"t{number:x}" in kept:
                number += len(kept)
            names[name] = f"t{number:x}"
        return names[name]

    for tensor in graph.initializer:
        tensor.name, tensor.doc_string = short(tensor.name), ""
        del tensor.metadata_props[:]
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        for field in (node.input, node.output):
            renamed = [short(name) for name in field]
            del field[:]
            field.extend(renamed)
    return proto


def _share_constants(graph: onnx.GraphProto) -> None:
    """Let equal constants be one, and drop those that nothing reads."""
    first: dict[tuple[Any, ...], str] = {}
    same: dict[str, str] = {}
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        key = (tensor.data_type, tuple(tensor.dims), array.tobytes())
        same[tensor.name] = first.setdefault(key, tensor.name)
    for node in graph.node:
        named = [same.get(name, name) for name in node.input]
        del node.input[:]
        node.input.extend(named)
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def eight_bit_weights(proto: ModelProto) -> None:
    """Make int8 of the float weights that are left."""
    put_first(proto, [node for weight in list(weights_of(proto)) for node in to_eight_bits(proto, weight)])


def _derive_scales(proto: ModelProto) -> None:
    """Let the scales of biases be products, and zero points of zeros go.

    Linear maps keep their zero points: without them ONNX Runtime does not see that they are quantized.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    makers = {name: node for node in proto.graph.node for name in node.output if node.op_type == "DequantizeLinear"}
    made: list[NodeProto] = []
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "Gemm") or not all(name in makers for name in node.input):
            continue
        value, weight, *biases = (makers[name] for name in node.input)
        for one in (weight, *biases):
            if node.op_type == "Conv" and len(one.input) > 2 and not constants.get(one.input[2], np.ones(1)).any():
                del one.input[2]
        for bias in biases:
            own = constants.get(bias.input[1], np.zeros(0))
            product = constants.get(value.input[1], np.nan) * constants.get(weight.input[1], np.nan)
            if own.size >= _FEWEST and np.allclose(product, own, rtol=_SAME, atol=0):
                name = f"{bias.output[0]}.scale"
                made.append(make_node("Mul", [value.input[1], weight.input[1]], [name]))
                bias.input[1] = name
    put_first(proto, made)


def _shorten_scales(proto: ModelProto) -> None:
    """Keep the scales of filters as 16-bit steps of their logarithm."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    names = {node.input[1] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    made: list[NodeProto] = []
    for name in sorted(names & constants.keys()):
        scales = numpy_helper.to_array(constants[name]).astype(np.float64)
        is_float = constants[name].data_type == TensorProto.FLOAT
        if not is_float or scales.size < _FEWEST_SCALES or not 0 < scales.max() <= scales.min() * _WIDEST:
            continue
        logs = np.log(scales)
        step = max(float(np.ptp(logs)) / _MOST_STEPS, float(np.finfo(np.float32).tiny))
        parts = {
            "steps": np.rint((logs - logs.min()) / step).astype(np.uint16),
            "step": np.array(step, np.float32),
            "least": np.array(logs.min(), np.float32),
        }
        swap(proto, name, {f"{name}.{part}": array for part, array in parts.items()})
        made += [
            make_node("Cast", [f"{name}.steps"], [f"{name}.whole"], to=TensorProto.FLOAT),
            make_node("Mul", [f"{name}.whole", f"{name}.step"], [f"{name}.above"]),
            make_node("Add", [f"{name}.above", f"{name}.least"], [f"{name}.log"]),
            make_node("Exp", [f"{name}.log"], [name]),
        ]
    put_first(proto, made)
