"""The techniques on a real net: against plain numpy where there is a formula, and inside a budget of two points."""

import copy

import numpy as np
import onnx
import openvino
import pytest
import torch

from controller.compression.export.onnx import export_onnx
from controller.compression.graphs.calibrate import infer
from controller.compression.graphs.packing import pack
from controller.compression.networks.layers import examples_of, exported, layered, layers_of
from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Samples
from controller.compression.networks.train import fit, lesson_of, predict
from controller.compression.techniques.aware import aware, rounded
from controller.compression.techniques.binarize import binarize, binary
from controller.compression.techniques.distill import distill
from controller.compression.techniques.prune import narrowed, prune
from controller.compression.techniques.quantize import quantize
from shoal.schemas.recipes import Binarize, Distill, Prune, Quantize, Training
from shoal.wire.models import Task
from tests.nets import SEED, DigitsConvNet, Trained, accuracy, digits, digits_onnx, watch

BUDGET = 0.02
SHORT = Training(epochs=2, learning_rate=0.01)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return digits()


@pytest.fixture
def net(trained: Trained) -> torch.fx.GraphModule:
    return layered(trained.program)


def score_of(net: torch.nn.Module, samples: Samples) -> float:
    return accuracy(predict(net, samples)[0], samples)


def onnx_of(net: torch.fx.GraphModule, trained: Trained) -> bytes:
    return export_onnx(exported(net, examples_of(trained.signature), trained.signature))


@pytest.mark.parametrize(
    ("step", "ratio"),
    [
        (Quantize(calibration="minmax"), 0.30),
        (Quantize(calibration="percentile"), 0.30),
        (Quantize(calibration="entropy"), 0.30),
        (Quantize(mode="dynamic"), 0.30),
        (Quantize(mode="fp16"), 0.52),
    ],
)
def test_digits_when_quantized_then_stay_in_the_budget_and_become_small(
    trained: Trained, step: Quantize, ratio: float
) -> None:
    made = quantize(digits_onnx(), step, trained.train.take(slice(0, 256))).model
    before, after = (accuracy(infer(file, trained.test)["output"], trained.test) for file in (digits_onnx(), made))
    assert after >= before - BUDGET
    assert len(made) <= ratio * len(digits_onnx())


def test_digits_when_half_the_macs_are_pruned_then_stay_in_the_budget(
    trained: Trained, net: torch.fx.GraphModule
) -> None:
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    pruned = prune(net, Prune(training=SHORT), lesson, examples_of(trained.signature), seed=SEED)
    assert 0.4 < pruned.figures["macs"] / pruned.figures["macs_before"] <= 0.5
    assert score_of(pruned.net, trained.test) >= score_of(net, trained.test) - BUDGET
    assert layers_of(pruned.net)["head"].out_features == 10


def test_digits_when_half_the_bytes_are_pruned_then_are_and_without_training_the_weights_are_those_kept(
    trained: Trained, net: torch.fx.GraphModule
) -> None:
    settings = Prune(target="size", training=Training(epochs=0))
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    pruned = prune(net, settings, lesson, examples_of(trained.signature), seed=SEED)
    assert pruned.figures["parameters"] <= 0.5 * pruned.figures["parameters_before"]
    kept = {row.tobytes() for row in layers_of(net)["features.0"].weight.detach().numpy()}
    assert {row.tobytes() for row in layers_of(pruned.net)["features.0"].weight.detach().numpy()} < kept


def test_weights_when_pruned_by_magnitude_then_the_smallest_are_zero_and_stay_so(
    trained: Trained, net: torch.fx.GraphModule
) -> None:
    settings = Prune(method="magnitude", keep=0.2, target="weights", training=SHORT)
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    pruned = prune(net, settings, lesson, examples_of(trained.signature), seed=SEED)
    before = {name: layer.weight.detach().numpy() for name, layer in layers_of(net).items() if name != "head"}
    threshold = np.quantile(np.concatenate([np.abs(array).ravel() for array in before.values()]), 0.8)
    after = layers_of(pruned.net)
    for name, array in before.items():
        is_zero = after[name].weight.detach().numpy() == 0
        np.testing.assert_array_equal(is_zero[np.abs(array) < 0.999 * threshold], True)
        assert not is_zero[np.abs(array) > 1.001 * threshold].any()
    assert score_of(pruned.net, trained.test) >= score_of(net, trained.test) - BUDGET


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3), (6, 2, 5)])
def test_filters_when_binary_then_are_the_nearest_of_their_kind(shape: tuple[int, ...]) -> None:
    """XNOR-Net, equation 6: no other scale, and no other sign, is nearer to the filter."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = binary(weight).numpy()
    flat, near = weight.numpy().reshape(len(weight), -1), made.reshape(len(weight), -1)
    scales = np.abs(flat).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(near, np.sign(flat) * scales, rtol=1e-6)
    error = ((flat - near) ** 2).sum()
    for factor in (0.99, 1.01):
        assert ((flat - near * factor) ** 2).sum() > error
    assert ((flat - np.where(np.abs(flat) == np.abs(flat).min(), -near, near)) ** 2).sum() > error


@pytest.mark.parametrize("ends", ["int8", "float"])
def test_digits_when_binarized_then_stay_in_the_budget_and_packed_give_the_same_on_both_runtimes(
    trained: Trained, net: torch.fx.GraphModule, ends: str
) -> None:
    """1e-4 of the outputs' size for float32 sums in another order; int8 ends are rounded, so compared by labels."""
    settings = Binarize(ends=ends, training=Training(epochs=3))
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    made, figures = binarize(net, settings, lesson, seed=SEED)
    assert figures["binary_layers"] == ["dense", "features.6"]
    weight = layers_of(made)["dense"].weight.detach()
    torch.testing.assert_close(weight, binary(weight))
    file = onnx_of(made, trained)
    packed = pack(file, are_ends_int8=ends == "int8")
    assert packed.weights_ratio <= 0.08
    assert len(packed.model) <= 0.08 * len(file)
    x = trained.test.inputs["input"]
    plain = infer(file, trained.test)["output"]
    ort = infer(packed.model, trained.test)["output"]
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(packed.model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(x)[0], ort, atol=1e-4 * float(np.abs(ort).max()))
    assert (ort.argmax(axis=1) == plain.argmax(axis=1)).mean() >= 0.99
    assert accuracy(ort, trained.test) >= score_of(net, trained.test) - BUDGET
    operators = {node.op_type for node in onnx.load_from_string(packed.model).graph.node}
    assert "BitShift" not in operators  # which OpenVINO would do again at each inference


def test_float_ends_when_packed_then_the_outputs_are_bitwise_the_same(
    trained: Trained, net: torch.fx.GraphModule
) -> None:
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    made, _ = binarize(net, Binarize(ends="float", training=Training(epochs=0)), lesson, seed=SEED)
    file = onnx_of(made, trained)
    packed = pack(file, are_ends_int8=False).model
    np.testing.assert_array_equal(infer(packed, trained.test)["output"], infer(file, trained.test)["output"])


def test_file_when_nothing_in_it_is_binary_then_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        pack(digits_onnx(), are_ends_int8=True)
    assert caught.value.code == "binarize.nothing"


def test_weights_when_rounded_then_are_as_numpy_rounds_them_and_the_gradient_passes() -> None:
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), requires_grad=True)
    made = rounded(weight)
    array = weight.detach().numpy()
    scale = np.abs(array).max(axis=1, keepdims=True) / 127
    np.testing.assert_allclose(made.detach().numpy(), np.round(array / scale) * scale, atol=1e-6)
    made.sum().backward()
    assert weight.grad is not None
    assert bool((weight.grad == 1).all())


def test_net_when_fine_tuned_with_int8_in_mind_then_its_int8_file_is_nearer_to_it(trained: Trained) -> None:
    """Weights with a wild one in each filter: int8 rounds all others to a few steps; the net learns to live so."""
    net = layered(trained.program)
    with torch.no_grad():
        for layer in layers_of(net).values():
            layer.weight.flatten(1)[:, 0] = 6 * layer.weight.abs().flatten(1).amax(dim=1)
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    tuned, figures = aware(net, Training(epochs=4, learning_rate=0.01), lesson, seed=SEED)
    assert figures["layers"] == 5
    calibration = trained.train.take(slice(0, 256))
    scores = [
        accuracy(
            infer(quantize(onnx_of(one, trained), Quantize(), calibration).model, trained.test)["output"], trained.test
        )
        for one in (net, tuned)
    ]
    assert scores[1] > scores[0]
    assert set(tuned.state_dict()) == set(net.state_dict())


def test_training_when_the_seed_is_the_same_then_gives_bitwise_the_same_weights(
    trained: Trained, net: torch.fx.GraphModule
) -> None:
    lesson = lesson_of(Task.CLASSIFICATION, trained.train.take(slice(0, 200)), net)
    nets = [copy.deepcopy(net) for _ in range(3)]
    for one, seed in zip(nets, (1, 1, 2), strict=True):
        fit(one, lesson, SHORT, seed=seed)
    first, second, other = ({name: value.numpy() for name, value in one.state_dict().items()} for one in nets)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["head.weight"], other["head.weight"])


def fresh(trained: Trained) -> torch.fx.GraphModule:
    torch.manual_seed(SEED)
    examples = examples_of(trained.signature)
    whole = layered(exported(DigitsConvNet(), examples, trained.signature))
    return narrowed(whole, 0.5, examples)


def mislabelled(samples: Samples, count: int, wrong: int) -> Samples:
    """A few samples of which the first ones have another's label: what only a teacher can put right."""
    few = samples.take(slice(0, count))
    labels = few.targets["y"].copy()
    labels[:wrong] = (labels[:wrong] + 1) % 10
    return Samples(few.inputs, {"y": labels}, few.outputs)


def test_student_when_labels_are_few_and_some_wrong_then_learns_more_with_a_teacher(
    trained: Trained, net: torch.fx.GraphModule
) -> None:
    settings = Distill(temperatures=[4.0], weights=[1.0], training=Training(epochs=16, learning_rate=0.05))
    samples = mislabelled(trained.train, 240, 60)
    examples = examples_of(trained.signature)
    student, figures = distill(
        net, fresh(trained), settings, samples, task=Task.CLASSIFICATION, example_inputs=examples, seed=SEED
    )
    assert figures["score"] > figures["score_alone"]
    assert figures["parameters"] < 0.3 * figures["parameters_before"]
    assert score_of(student, trained.test) > 0.8


def test_student_when_a_teacher_that_knows_nothing_does_not_help_then_is_refused_with_both_figures(
    trained: Trained,
) -> None:
    settings = Distill(temperatures=[2.0], weights=[0.9], training=Training(epochs=4, learning_rate=0.05))
    examples = examples_of(trained.signature)
    torch.manual_seed(SEED + 1)
    ignorant = layered(exported(DigitsConvNet(), examples, trained.signature))
    with pytest.raises(Refused, match=r"reaches 0\.\d+ .* without one 0\.\d+") as caught:
        distill(
            ignorant,
            fresh(trained),
            settings,
            trained.train.take(slice(0, 400)),
            task=Task.CLASSIFICATION,
            example_inputs=examples,
            seed=SEED,
        )
    assert caught.value.code == "distill.no_gain"


def test_watch_when_pruned_and_quantized_then_stays_in_the_budget() -> None:
    trained = watch()
    net = layered(trained.program)
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    pruned = prune(net, Prune(training=SHORT), lesson, examples_of(trained.signature), seed=SEED).net
    file = quantize(onnx_of(pruned, trained), Quantize(), trained.train.take(slice(0, 256))).model
    before = score_of(net, trained.test)
    assert accuracy(infer(file, trained.test)["output"], trained.test) >= before - BUDGET


def test_watch_when_binarized_then_stays_in_the_budget() -> None:
    trained = watch()
    net = layered(trained.program)
    lesson = lesson_of(Task.CLASSIFICATION, trained.train, net)
    made, _ = binarize(net, Binarize(training=Training(epochs=4)), lesson, seed=SEED)
    packed = pack(onnx_of(made, trained), are_ends_int8=True)
    assert packed.weights_ratio <= 0.08
    before = score_of(net, trained.test)
    assert accuracy(infer(packed.model, trained.test)["output"], trained.test) >= before - BUDGET
