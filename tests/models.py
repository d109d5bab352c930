"""Small models for tests, made on the spot."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shoal.wire.tensors import encode_tensors

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]], np.float32)


def linear_onnx(weights: NDArray[np.float32] = WEIGHTS, *, inputs: int = 1, padding_bytes: int = 0) -> bytes:
    """An ONNX file: `output = input @ weights`, batch axis dynamic; padded by a tensor that nothing reads."""
    rows, columns = weights.shape
    named = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", rows])]
    named += [helper.make_tensor_value_info(f"more{i}", TensorProto.FLOAT, [1]) for i in range(1, inputs)]
    nodes = [helper.make_node("MatMul", ["input", "w"], ["output" if inputs == 1 else "product"])]
    if inputs > 1:
        nodes.append(helper.make_node("Add", ["product", "more1"], ["output"]))
    graph = helper.make_graph(
        nodes,
        "linear",
        named,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", columns])],
        [
            numpy_helper.from_array(weights, "w"),
            *([numpy_helper.from_array(np.zeros(padding_bytes, np.uint8), "padding")] if padding_bytes else []),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def samples(count: int = 32) -> NDArray[np.float32]:
    """Inputs of the linear model whose labels are clear."""
    generator = np.random.default_rng(0)
    x = generator.normal(scale=0.1, size=(count, 4)).astype(np.float32)
    x[np.arange(count), generator.integers(0, 3, count)] += 3
    return x


def golden_of(weights: NDArray[np.float32] = WEIGHTS) -> bytes:
    """The linear model's golden set."""
    x = samples()
    return encode_tensors({"input.input": x, "output.output": x @ weights})
