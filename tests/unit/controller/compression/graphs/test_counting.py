"""What an inference costs, counted in ONNX files by hand and as programs are counted."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from controller.compression.graphs.counting import count
from controller.compression.networks.layers import cost, examples_of, layered
from controller.compression.networks.refused import Refused
from tests.nets import digits, digits_onnx


def file(nodes: list[onnx.NodeProto], weights: dict[str, list[int]], shape: list[int | str]) -> bytes:
    tensors = [numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in weights.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [given], [made], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("node", "weight", "shape", "size", "macs"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]), [4, 2, 3, 3], [2, 8, 8], [2, 8, 8], 4608),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=2), [2, 1, 3, 3], [2, "h", "w"], [2, 8, 8], 648),
        (
            helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
            [2, 4, 3, 3],
            [2, 8, 8],
            [2, 8, 8],
            4608,
        ),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), [6, 5], [7, 6], [7, 6], 210),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), [5, 6], [6], [6], 30),
    ],
    ids=["convolution", "grouped, free size", "transposed", "linear, of a sequence", "linear"],
)
def test_layer_when_counted_then_is_each_weight_at_each_position(
    node: onnx.NodeProto, weight: list[int], shape: list[int | str], size: list[int], macs: int
) -> None:
    data = file([node], {"w": weight}, ["n", *shape])
    assert count(data, {"x": size}) == {"macs": macs, "parameters": int(np.prod(weight))}


def test_network_when_counted_in_its_file_then_is_as_in_its_program() -> None:
    trained = digits()
    counted = cost(layered(trained.program), examples_of(trained.signature))
    assert count(digits_onnx(), {"input": [1, 8, 8]})["macs"] == counted.macs


def test_file_when_its_sizes_are_not_known_before_it_runs_then_has_no_macs() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Transpose", ["f"], ["t"]), helper.make_node("MatMul", ["t", "w"], ["y"])]
    assert count(file(nodes, {"w": [2, 3]}, ["n", 4]), {"x": [4]}) == {"macs": None, "parameters": 6}


def test_file_when_it_is_none_then_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        count(b"none", {"x": [4]})
    assert caught.value.code == "quantize.failed"
