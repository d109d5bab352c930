"""A file is smaller afterwards, and computes the same within the rounding of its scales."""

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from controller.compression.graphs.slim import slim

FILTERS = 256


def quantized(scales: NDArray[np.float32]) -> ModelProto:
    """A 1x1 convolution whose int8 weights have a scale a filter."""
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (FILTERS, 3, 1, 1)).astype(np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["weights"], axis=0),
            helper.make_node("Conv", ["input", "weights"], ["output"]),
        ],
        "conv",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 1, 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", FILTERS, 1, 1])],
        [
            numpy_helper.from_array(weights, "codes"),
            numpy_helper.from_array(scales, "scales"),
            numpy_helper.from_array(np.zeros(FILTERS, np.int8), "zeros"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: ModelProto) -> NDArray[np.float32]:
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(None, {"input": np.ones((1, 3, 1, 1), np.float32)})[0]
    return output.ravel()


def test_scales_when_they_are_many_then_take_two_bytes_and_move_by_less_than_a_fiftieth_of_a_step() -> None:
    # From filters that are almost nothing to large ones, as folded batch norms leave them.
    scales = np.geomspace(1e-9, 0.5, FILTERS).astype(np.float32)
    before, wide = run(quantized(scales)), quantized(scales)
    made = slim(quantized(scales))
    assert len(wide.SerializeToString()) - len(made.SerializeToString()) >= 2 * FILTERS - 200
    # Three weights of at most 127 steps; float32 rounds as well.
    np.testing.assert_allclose(run(made), before, rtol=0, atol=3 * 127 * 0.0002 * scales.max())
    np.testing.assert_array_less(np.abs(run(made) - before) / (3 * 127 * scales), 0.0003)


def test_scales_when_they_are_equal_then_stay_what_they_are() -> None:
    scales = np.full(FILTERS, 0.01, np.float32)
    np.testing.assert_allclose(run(slim(quantized(scales))), run(quantized(scales)), rtol=1e-5)


def test_scales_when_one_is_nothing_beside_the_others_then_stay_as_they_were() -> None:
    scales = np.full(FILTERS, 0.01, np.float32)
    scales[7] = 1e-30
    np.testing.assert_array_equal(run(slim(quantized(scales))), run(quantized(scales)))
