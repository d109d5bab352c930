"""Ready-made files of every format, and what needs the converters' Python, through real compressions.

What each variant answers is compared with the model's formula in numpy, not with what made it.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from shoal.schemas.artifacts import DatasetRequest, ModelRequest, Variant, Version, VersionRequest
from shoal.schemas.jobs import CompressionRequest, Job, SensitivityRequest
from shoal.schemas.profiles import AdviceRequest
from shoal.schemas.signatures import Signature
from shoal.wire.runtimes import available_runtimes
from shoal.wire.tensors import decode_tensors, encode_tensors
from tests import runtime_files as made
from tests.compressing import Controller
from tests.conftest import require
from tests.models import WEIGHTS, linear_onnx, samples
from tests.registry import looked_at, one_input

_GENERATOR = np.random.default_rng(0)
FILTERS = _GENERATOR.normal(size=(4, 3, 1, 1)).astype(np.float32)
HEAD = _GENERATOR.normal(size=(4, 3)).astype(np.float32)
IMAGES = _GENERATOR.normal(size=(32, 3, 6, 6)).astype(np.float32) + np.eye(3, dtype=np.float32)[
    np.arange(32) % 3
].reshape(32, 3, 1, 1)


def any_size_onnx() -> bytes:
    """An image model for any size, made elsewhere: a convolution, the mean of each channel, a linear map."""
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "any-size",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(FILTERS, "filters"), numpy_helper.from_array(HEAD, "head")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def linear(x: NDArray[Any]) -> NDArray[Any]:
    return x @ WEIGHTS


def any_size(x: NDArray[Any]) -> NDArray[Any]:
    maps = np.maximum(np.einsum("nchw,fc->nfhw", x, FILTERS[:, :, 0, 0]), 0)
    return maps.mean(axis=(2, 3)) @ HEAD


def eim_program() -> bytes:
    """The linear model as the executable that Edge Impulse's files are; `tests/eim_runner.py` is inside."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    script = f"{(made.ROOT / 'tests/eim_runner.py').read_text()}\nmain({{}})\n"
    python, code = json.dumps(sys.executable), json.dumps(script)
    call = f'execl({python}, {python}, "-c", {code}, a[1], (char *)0)'  # by its path: so it finds its library
    source = f"#include <unistd.h>\nint main(int n, char **a) {{ return {call}; }}"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.eim"
        subprocess.run([compiler, "-w", "-x", "c", "-", "-o", target], input=source.encode(), check=True)
        return target.read_bytes()


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    controller = Controller(tmp_path_factory.mktemp("files") / "state")
    try:
        image = {"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, -1]}
        scores = {"name": "scores", "datatype": "FP32", "shape": [-1, 3]}
        anywhere = Signature.model_validate({"inputs": [image], "outputs": [scores]})
        add_model(controller, "linear", one_input([4], 3), samples(), linear)
        add_model(controller, "any-size", anywhere, IMAGES, any_size)
        yield controller
    finally:
        controller.close()


def add_model(
    controller: Controller,
    name: str,
    signature: Signature,
    x: NDArray[Any],
    formula: Callable[[NDArray[Any]], NDArray[Any]],
) -> None:
    """Register a model with its data sets; the labels are what its formula says."""
    controller.client.models.create(ModelRequest(name=name, signature=signature, class_labels=["a", "b", "c"]))
    data = encode_tensors({"x": x, "y": formula(x).argmax(axis=1)})
    for role in ("calibration", "evaluation", "golden"):
        body = {
            "name": f"{name}-{role}",
            "role": role,
            "sha256": controller.client.artifacts.create(data).sha256,
        }
        controller.client.datasets.create(DatasetRequest.model_validate(body))


def add_version(controller: Controller, model: str, format: str, data: bytes) -> Version:
    body = {"format": format, "file": controller.client.artifacts.create(data).sha256}
    found = controller.client.models.create_version(model, VersionRequest.model_validate(body))
    version = looked_at(controller.client, found)
    assert (version.state, version.message) == ("ready", "")
    return version


def compressed(controller: Controller, version: Version, recipes: dict[str, list[str]]) -> Job:
    body = {
        "model": version.model,
        "version": version.number,
        "recipes": [{"name": name, "runtimes": runtimes} for name, runtimes in recipes.items()],
        **{f"{role}_dataset": f"{version.model}-{role}" for role in ("calibration", "evaluation", "golden")},
    }
    return controller.ended(controller.client.jobs.compress(CompressionRequest.model_validate(body)))


def variants(controller: Controller, version: Version) -> dict[tuple[str, str], Variant]:
    found = controller.client.models.list_variants(version.model, version.number).items
    return {(variant.recipe, variant.runtime): variant for variant in found}


def golden_error(controller: Controller, variant: Variant, formula: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
    """How far a golden set's outputs are from the formula, as a share of the largest."""
    sha256 = variant.golden_sha256
    tensors = decode_tensors((controller.state / "blobs" / "sha256" / sha256[:2] / sha256).read_bytes())
    (x,) = (array for name, array in tensors.items() if name.startswith("input."))
    (outputs,) = (array for name, array in tensors.items() if name.startswith("output."))
    expected = formula(x)
    return float(np.abs(outputs - expected).max() / np.abs(expected).max())


def test_onnx_file_when_compressed_then_each_precision_gives_what_its_formula_says(controller: Controller) -> None:
    version = add_version(controller, "linear", "onnx", linear_onnx())
    recipes = {name: ["onnxruntime", "openvino"] for name in ("fp32", "fp16", "int8", "int8-dynamic")}
    job = compressed(controller, version, recipes)
    found = variants(controller, version)
    assert (job.state, len(found)) == ("succeeded", 8)
    assert {variant.accuracy for variant in found.values()} == {1.0}
    # float32; float16 has 11 bits, int8 a step of a 255th of its range for the inputs, the weights and the outputs.
    for recipe, tolerance in (("fp32", 1e-6), ("fp16", 2e-3), ("int8", 0.02), ("int8-dynamic", 0.02)):
        assert golden_error(controller, found[recipe, "onnxruntime"], linear) <= tolerance
    assert {(variant.figures["macs"], variant.figures["parameters"]) for variant in found.values()} == {(12, 12)}


def test_onnx_file_when_it_takes_any_size_then_is_compressed_and_counted_at_the_size_of_the_samples(
    controller: Controller,
) -> None:
    version = add_version(controller, "any-size", "onnx", any_size_onnx())
    job = compressed(controller, version, {"fp32": ["onnxruntime", "openvino"], "int8": ["onnxruntime", "openvino"]})
    assert (job.state, job.message) == ("succeeded", "")
    found = variants(controller, version)
    assert golden_error(controller, found["fp32", "onnxruntime"], any_size) <= 1e-5
    assert golden_error(controller, found["int8", "onnxruntime"], any_size) <= 0.05
    assert found["int8", "openvino"].agreement >= 0.9
    assert {variant.figures["macs"] for variant in found.values()} == {3 * 4 * 36 + 12}
    # What a board's specification says about its latency needs the count, and no profile.
    advice = controller.client.boards.advise("any-size", version.number, AdviceRequest(max_latency_ms=1000)).items
    by_board = {one.board: one for one in advice}
    assert (by_board["raspberry-pi-5"].source, by_board["raspberry-pi-5"].verdict) == ("specification", "serves")

    asked = {"calibration_dataset": "any-size-calibration", "evaluation_dataset": "any-size-evaluation"}
    request = SensitivityRequest(model="any-size", version=version.number, **asked)
    measured = controller.ended(controller.client.jobs.measure_sensitivity(request))
    assert (measured.state, measured.result["score"]) == ("succeeded", 1.0)
    assert {layer["layer"] for layer in measured.result["layers"]} == {"filters", "head"}
    assert all(0 <= layer["drop"] <= 0.1 for layer in measured.result["layers"])


@pytest.mark.parametrize(
    ("format", "data", "runtimes"),
    [
        ("tflite", made.linear_tflite, ["litert"]),
        ("torchscript", partial(made.torchscript, made.Linear()), ["torchscript"]),
        ("openvino", lambda: made.openvino_ir(linear_onnx()), ["openvino"]),
        ("eim", eim_program, ["edgeimpulse"]),
    ],
    ids=["tflite", "torchscript", "openvino", "eim"],
)
def test_file_when_it_goes_as_it_is_then_is_proven_measured_and_the_same_bytes(
    controller: Controller, format: str, data: Callable[[], bytes], runtimes: list[str]
) -> None:
    version = add_version(controller, "linear", format, data())
    job = compressed(controller, version, {"as-is": runtimes})
    assert (job.state, job.message) == ("succeeded", "")
    for variant in variants(controller, version).values():
        assert (variant.sha256, variant.format, variant.accuracy) == (version.file, format, 1.0)
        assert golden_error(controller, variant, linear) <= 1e-5


def test_tflite_file_when_it_is_for_arm_nn_then_agrees_with_litert(controller: Controller) -> None:
    require(available_runtimes().get("armnn"), "python3-pyarmnn")
    version = add_version(controller, "linear", "tflite", made.linear_tflite())
    job = compressed(controller, version, {"as-is": ["armnn"]})
    assert (job.state, job.message) == ("succeeded", "")
    assert variants(controller, version)["as-is", "armnn"].agreement == 1.0


def test_executorch_file_when_it_goes_as_it_is_then_is_proven_by_the_toolchain(
    controller: Controller, toolchain_python: Path
) -> None:
    version = add_version(controller, "linear", "pte", made.pte_files(toolchain_python)["linear"])
    job = compressed(controller, version, {"as-is": ["executorch"]})
    assert (job.state, job.message) == ("succeeded", "")
    assert golden_error(controller, variants(controller, version)["as-is", "executorch"], linear) <= 1e-5


def test_int8_when_nncf_quantizes_then_is_openvinos_own_form_and_says_so(
    controller: Controller, toolchain_python: Path
) -> None:
    version = add_version(controller, "any-size", "onnx", any_size_onnx())
    job = compressed(controller, version, {"int8-nncf": ["openvino"]})
    assert (job.state, job.message) == ("succeeded", "")
    variant = variants(controller, version)["int8-nncf", "openvino"]
    assert (variant.format, variant.figures["quantizer"]) == ("openvino", "nncf")
    assert golden_error(controller, variant, any_size) <= 0.05
