"""Files of all kinds become int8 and float16: fixed and free shapes, several inputs, old operator sets, other names."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from controller.compression.graphs.calibrate import infer, ranges_of
from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Samples
from controller.compression.techniques.quantize import file_signature, prepare, quantize, static
from controller.compression.techniques.sensitivity import noise, sensitivities
from shoal.schemas.recipes import Quantize
from tests.nets import accuracy, digits, digits_onnx

RANDOM = np.random.default_rng(0)


def convolution(*, batch: Any = "batch", size: Any = 8, opset: int = 18, filters: int = 4) -> bytes:
    """A convolution, a ReLU, and a mean over the picture."""
    weight = RANDOM.normal(size=(filters, 2, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["scores"]),
    ]
    return model(nodes, [("image", [batch, 2, size, size])], ("scores", [batch, filters, 1, 1]), {"w": weight}, opset)


def two_inputs() -> bytes:
    nodes = [
        helper.make_node("MatMul", ["left", "a"], ["l"]),
        helper.make_node("MatMul", ["right", "b"], ["r"]),
        helper.make_node("Add", ["l", "r"], ["sum"]),
    ]
    weights = {name: RANDOM.normal(size=(6, 5)).astype(np.float32) for name in "ab"}
    return model(nodes, [("left", ["n", 6]), ("right", ["n", 6])], ("sum", ["n", 5]), weights, 17)


def model(nodes: list[Any], inputs: list[Any], output: Any, weights: dict[str, Any], opset: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(*output[:1], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def samples(count: int = 40, size: int = 8) -> Samples:
    x = RANDOM.normal(size=(count, 2, size, size)).astype(np.float32)
    return Samples({"image": x}, {}, ("scores",))


@pytest.mark.parametrize("mode", ["static", "dynamic", "fp16"])
@pytest.mark.parametrize(
    "changes", [{}, {"batch": 1}, {"batch": 3}, {"size": "size"}, {"opset": 11}, {"opset": 9}, {"filters": 64}]
)
def test_file_when_quantized_then_gives_nearly_the_same(mode: str, changes: dict[str, Any]) -> None:
    """int8 has 255 steps: the error's square is 1 / 255**2 of a uniform's variance, times the layers and the tails."""
    source = convolution(**changes)
    seen = samples()
    made = quantize(source, Quantize(mode=mode), seen).model
    exact = infer(prepare(source).model.SerializeToString(), seen)
    assert noise(infer(made, seen), exact) < 0.003
    assert file_signature(made) == file_signature(source)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_file_when_it_has_two_inputs_then_both_are_calibrated(method: str) -> None:
    seen = Samples({name: RANDOM.normal(size=(50, 6)).astype(np.float32) for name in ("right", "left")}, {}, ("sum",))
    source = two_inputs()
    made = quantize(source, Quantize(calibration=method), seen).model
    assert noise(infer(made, seen), infer(source, seen)) < 0.003


def test_ranges_when_measured_in_batches_then_are_those_of_all_samples() -> None:
    """The first batch has one sample; what is wild comes late."""
    seen = samples(100)
    seen.inputs["image"][77] *= 10
    source = convolution()
    prepared = prepare(source)
    ranges = ranges_of(prepared.model.SerializeToString(), prepared.tensors, seen, "minmax")
    assert ranges["image"] == (seen.inputs["image"].min(), seen.inputs["image"].max())
    (scores,) = infer(source, seen).values()
    assert ranges["scores"] == pytest.approx((scores.min(), scores.max()), rel=1e-4)


def test_layers_when_left_in_float_then_are_and_the_others_not() -> None:
    prepared = prepare(digits_onnx())
    assert list(prepared.layers) == ["features.0", "features.3", "features.6", "dense", "head"]
    ranges = ranges_of(
        prepared.model.SerializeToString(), prepared.tensors, digits().train.take(slice(0, 64)), "minmax"
    )
    for names in ([], ["head"], ["features.0", "dense"]):
        made = onnx.load_from_string(static(prepared, ranges, float_layers=names))
        floats = [tensor for tensor in made.graph.initializer if tensor.data_type == TensorProto.FLOAT]
        assert sum(len(tensor.dims) > 1 for tensor in floats) == len(names)
    with pytest.raises(Refused) as caught:
        static(prepared, ranges, float_layers=["tail"])
    assert (caught.value.code, "features.0" in str(caught.value)) == ("recipe.unknown_layer", True)


def test_static_file_when_loaded_then_all_its_layers_run_in_int8(tmp_path: Any) -> None:
    made = quantize(digits_onnx(), Quantize(), digits().train).model
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(made, options)
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert (kinds.count("QLinearConv"), kinds.count("QGemm")) == (3, 2)
    assert {"Conv", "Gemm", "MatMul"} & set(kinds) == set()
    assert kinds[-1] == "QGemm"  # its output is float as it is


@pytest.mark.parametrize(
    ("source", "step", "code"),
    [
        (b"no model", Quantize(), "quantize.failed"),
        (
            model([helper.make_node("Relu", ["x"], ["y"])], [("x", ["n", 2])], ("y", ["n", 2]), {}, 17),
            Quantize(),
            "quantize.nothing",
        ),
        (two_inputs(), Quantize(), "calibration.missing"),
    ],
)
def test_file_when_it_cannot_be_quantized_then_is_refused_by_name(source: bytes, step: Quantize, code: str) -> None:
    with pytest.raises(Refused) as caught:
        quantize(source, step)
    assert caught.value.code == code


def test_sample_when_it_makes_a_tensor_infinite_then_is_refused() -> None:
    seen = samples()
    seen.inputs["image"][20] = 3e38
    with pytest.raises(Refused) as caught:
        quantize(convolution(), Quantize(), seen)
    assert caught.value.code == "calibration.not_finite"


def test_sensitivity_when_one_layer_is_rough_then_it_comes_first() -> None:
    """One filter of the layer is a thousand times the others', and the layer has one scale for all inputs of it."""
    trained = digits()
    proto = onnx.load_from_string(digits_onnx())
    (tensor,) = [one for one in proto.graph.initializer if one.name == "dense.weight"]
    weight = numpy_helper.to_array(tensor).copy()
    weight[:, 0] *= 1000
    tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    found = sensitivities(proto.SerializeToString(), trained.train.take(slice(0, 64)), trained.test)
    assert (found.layers[0].layer, found.evaluations, len(found.layers)) == ("dense", 6, 5)
    assert found.layers[0].noise > 10 * found.layers[1].noise
    assert found.layers[0].weight_bytes == weight.size * 4
    fewer = sensitivities(proto.SerializeToString(), trained.train.take(slice(0, 64)), most=2)
    assert (len(fewer.layers), fewer.score, fewer.layers[0].drop) == (2, None, None)
    (outputs,) = infer(digits_onnx(), trained.test).values()
    assert accuracy(outputs, trained.test) > 0.98
