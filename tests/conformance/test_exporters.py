"""One suite for every converter, each in its sandbox as a job starts it, and every file on its own runtime there."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from controller.compression.export.conversion import needs_toolchain
from controller.jobs.sandbox import Limits, Sandbox
from shoal import toolchain
from shoal.runtimes.process import ProcessError
from shoal.wire.tensors import decode_tensors, encode_tensors
from tests import exporting
from tests.exporting import Net

CONVERTER = "controller.compression.workers.converter"
LIMITS = Limits(cpu_s=900, memory_bytes=24 * 2**30, scratch_bytes=2**30, processes=256)
TIMEOUT_S = 280.0
RUNTIMES = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "tflite": "litert",
    "pte": "executorch",
    "torchscript": "torchscript",
    "ptl": "torchscript",
}
# Of the largest output: float32 sums in another order; halves keep 11 bits; int8 steps add up over five layers.
TOLERANCES = {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.08, "int8-dynamic": 0.02}
CASES = [
    ("onnx", "fp32", {}),
    ("openvino", "fp32", {}),
    ("openvino", "fp16", {}),
    ("openvino", "int8", {}),
    ("litert", "fp32", {}),
    ("litert", "fp16", {}),
    ("litert", "int8", {}),
    ("litert", "int8", {"int8_tensors": True}),
    ("litert", "int8-dynamic", {}),
    ("executorch", "fp32", {}),
    ("executorch", "int8", {}),
    ("executorch", "int8-dynamic", {}),
    ("torchscript", "fp32", {}),
    ("torchscript", "fp32", {"format": "ptl"}),
    ("torchscript", "int8", {}),
    ("torchscript", "int8", {"format": "ptl"}),
    ("torchscript", "int8-dynamic", {}),
    ("armnn", "fp32", {}),
]
OTHER_NETS = [
    (net, converter, precision)
    for net in ("series", "pair")
    for converter, precision in (
        ("onnx", "fp32"),
        ("openvino", "int8"),
        ("litert", "int8"),
        ("executorch", "int8"),
        ("torchscript", "int8"),
    )
]


@cache
def net(name: str) -> Net:
    made: Net = getattr(exporting, name)()
    return made


class Workshop:
    """Converters and runtimes of this session, each in a sandbox; every file is made once."""

    def __init__(self, state: Path, python: Path) -> None:
        self._state = state
        self._python = python
        self._sandboxes: dict[tuple[str, bool], Sandbox] = {}
        self._made: dict[str, dict[str, Any]] = {}

    def sandbox(self, module: str, *, in_toolchain: bool) -> Sandbox:
        key = module, in_toolchain
        if key not in self._sandboxes or not self._sandboxes[key].is_running:
            interpreter = self._python if in_toolchain else None
            self._sandboxes[key] = Sandbox.start(
                module, state=self._state, allow_unisolated=True, limits=LIMITS, interpreter=interpreter
            )
        return self._sandboxes[key]

    def ask(self, source: Net, converter: str, precision: str, settings: dict[str, Any]) -> dict[str, Any]:
        sandbox = self.sandbox(CONVERTER, in_toolchain=needs_toolchain(converter, precision, "program"))
        calibration = encode_tensors({f"x.{name}": array for name, array in source.calibration.items()})
        return sandbox.ask(
            "convert",
            timeout_s=TIMEOUT_S,
            converter=converter,
            precision=precision,
            signature=msgspec.to_builtins(source.signature),
            program=sandbox.put("program", [source.program]),
            weights=sandbox.put("weights", [source.weights]),
            calibration=sandbox.put("calibration", [calibration]),
            settings=settings,
        )

    def made(self, name: str, converter: str, precision: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        key = f"{name} {converter} {precision} {settings or {}}"
        if key not in self._made:
            self._made[key] = self.ask(net(name), converter, precision, settings or {})
        return self._made[key]

    def outputs(self, name: str, made: dict[str, Any], count: int) -> dict[str, NDArray[Any]]:
        source, runtime = net(name), RUNTIMES[made["format"]]
        runner = self.sandbox("shoal.runtimes.runner", in_toolchain=runtime in ("litert", "executorch"))
        path = runner.put(f"model.{made['format']}", [made["model"]])
        signature = msgspec.to_builtins(source.signature)
        runner.ask("load", timeout_s=TIMEOUT_S, runtime=runtime, path=path, signature=signature)
        samples = encode_tensors({name: array[:count] for name, array in source.samples.items()})
        return decode_tensors(runner.ask("infer", timeout_s=TIMEOUT_S, tensors=samples)["tensors"])

    def close(self) -> None:
        for sandbox in self._sandboxes.values():
            sandbox.close()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("state"), toolchain_python)
    yield made
    made.close()


@pytest.mark.parametrize(("converter", "precision", "settings"), CASES)
def test_file_when_made_then_agrees_with_torch(
    workshop: Workshop, converter: str, precision: str, settings: dict[str, Any]
) -> None:
    made = workshop.made("digits", converter, precision, settings)
    outputs, expected = workshop.outputs("digits", made, 200)["output"], net("digits").expected["output"][:200]
    assert outputs.shape == expected.shape
    assert np.abs(outputs - expected).max() <= TOLERANCES[precision] * np.abs(expected).max()
    assert (outputs.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.98


@pytest.mark.parametrize(("name", "converter", "precision"), OTHER_NETS)
def test_file_when_of_series_or_of_several_tensors_then_agrees_with_torch(
    workshop: Workshop, name: str, converter: str, precision: str
) -> None:
    made = workshop.made(name, converter, precision)
    outputs, expected = workshop.outputs(name, made, 40), net(name).expected
    assert outputs.keys() == expected.keys()
    for output, wanted in expected.items():
        assert np.abs(outputs[output] - wanted[:40]).max() <= TOLERANCES[precision] * np.abs(wanted).max()


@pytest.mark.parametrize("converter", ["litert", "executorch", "torchscript", "openvino"])
def test_file_when_int8_then_is_a_third_of_float(workshop: Workshop, converter: str) -> None:
    """54,000 parameters: a graph's own bytes weigh more than in a real model, and OpenVINO's XML the most."""
    sizes = [len(workshop.made("digits", converter, precision)["model"]) for precision in ("int8", "fp32")]
    assert sizes[0] / sizes[1] < {"openvino": 0.45}.get(converter, 0.33)


@pytest.mark.parametrize(("converter", "precision", "settings"), CASES)
def test_file_when_made_then_tells_nothing_of_the_machine(
    workshop: Workshop, converter: str, precision: str, settings: dict[str, Any]
) -> None:
    model = workshop.made("digits", converter, precision, settings)["model"]
    packed = io.BytesIO(model)
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as archive:
            model = b"\n".join(archive.read(name) for name in archive.namelist() if not name.endswith(".bin"))
    root = str(Path(__file__).parents[2]).encode()
    assert root not in model
    assert not re.search(rb"/site-packages/|/tmp/|/home/|Traceback|File \"|stack_trace", model)


def test_layers_when_named_then_stay_in_float(workshop: Workshop) -> None:
    for converter in ("litert", "executorch", "torchscript", "openvino"):
        kept = workshop.made("digits", converter, "int8", {"float_layers": ["6"]})
        assert len(kept["model"]) > len(workshop.made("digits", converter, "int8")["model"]) + 50_000
        assert kept["notes"]["float_layers"] == ["6"]


def test_layers_when_unknown_then_are_refused(workshop: Workshop) -> None:
    for converter in ("litert", "executorch", "torchscript", "openvino"):
        with pytest.raises(ProcessError) as caught:
            workshop.ask(net("digits"), converter, "int8", {"float_layers": ["nowhere"]})
        assert caught.value.code == "recipe.unknown_layer"


def test_armnn_when_int8_needs_padding_then_is_refused_and_otherwise_not(workshop: Workshop) -> None:
    with pytest.raises(ProcessError, match="PAD") as caught:
        workshop.ask(net("digits"), "armnn", "int8", {})
    assert caught.value.code == "export.not_supported"
    made = workshop.made("pair", "armnn", "int8")
    assert (made["format"], made["notes"]["weights"]) == ("tflite", "int8 per tensor")


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


@pytest.mark.parametrize("converter", ["onnx", "openvino", "litert", "executorch"])
def test_operator_when_a_format_lacks_it_then_is_named_with_its_node(workshop: Workshop, converter: str) -> None:
    source = exporting.untrained(Bessel(), ["input"], ["output"], [np.ones((8, 4), np.float32)])
    with pytest.raises(ProcessError, match=r"bessel_j0.* \(node .*bessel_j0\)") as caught:
        workshop.ask(source, converter, "fp32", {})
    assert caught.value.code == "export.unsupported_operator"


def refused(workshop: Workshop, **changed: Any) -> str:
    sandbox = workshop.sandbox(CONVERTER, in_toolchain=False)
    source = net("series")
    request: dict[str, Any] = {
        "converter": "torchscript",
        "precision": "int8",
        "signature": msgspec.to_builtins(source.signature),
        "program": sandbox.put("program", [source.program]),
        "weights": sandbox.put("weights", [source.weights]),
        "calibration": sandbox.put("calibration", [encode_tensors({"x": source.calibration["waves"]})]),
    }
    with pytest.raises(ProcessError) as caught:
        sandbox.ask("convert", timeout_s=TIMEOUT_S, **{**request, **changed})
    return caught.value.code


def test_request_when_wrong_then_is_refused_by_name_and_the_next_one_done(workshop: Workshop) -> None:
    sandbox = workshop.sandbox(CONVERTER, in_toolchain=False)
    signature = msgspec.to_builtins(net("series").signature)
    narrow = {**signature, "inputs": [{"name": "waves", "datatype": "FP32", "shape": [-1, 3, 64]}]}
    junk = sandbox.put("junk", [b"junk"])
    short = sandbox.put("short", [encode_tensors({"x": np.zeros((4, 2, 63), np.float32)})])
    other = sandbox.put("other", [net("pair").weights])
    assert refused(workshop, precision="int4") == "export.not_supported"
    assert refused(workshop, converter="abacus") == "export.not_supported"
    assert refused(workshop, source="onnx") == "export.not_supported"
    assert refused(workshop, colour="blue") == "request.invalid"
    assert refused(workshop, settings={"colour": "blue"}) == "settings.invalid"
    assert refused(workshop, settings={"calibration": "entropy"}) == "export.not_supported"
    assert refused(workshop, calibration=None) == "calibration.missing"
    assert refused(workshop, calibration=short) == "calibration.bad_shape"
    assert refused(workshop, signature=narrow) == "program.does_not_fit"
    assert refused(workshop, program=junk) == "program.not_loadable"
    assert refused(workshop, weights=other) == "model.weights_mismatch"
    assert workshop.made("series", "torchscript", "int8")["format"] == "torchscript"


def test_onnx_file_when_it_is_the_source_then_becomes_openvino(workshop: Workshop) -> None:
    sandbox = workshop.sandbox(CONVERTER, in_toolchain=False)
    made = sandbox.ask(
        "convert",
        timeout_s=TIMEOUT_S,
        converter="openvino",
        precision="fp32",
        source="onnx",
        signature=msgspec.to_builtins(net("digits").signature),
        model=sandbox.put("model", [workshop.made("digits", "onnx", "fp32")["model"]]),
    )
    outputs = workshop.outputs("digits", made, 20)["output"]
    np.testing.assert_allclose(outputs, net("digits").expected["output"][:20], atol=1e-4)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    started: list[Sandbox] = []

    def start(**limits: int) -> Sandbox:
        started.append(Sandbox.start(CONVERTER, state=tmp_path, allow_unisolated=True, limits=Limits(**limits)))
        return started[-1]

    yield start
    for sandbox in started:
        sandbox.close()


def torchscript_of(sandbox: Sandbox, timeout_s: float) -> str:
    source = net("series")
    with pytest.raises(ProcessError) as caught:
        sandbox.ask(
            "convert",
            timeout_s=timeout_s,
            converter="torchscript",
            precision="fp32",
            signature=msgspec.to_builtins(source.signature),
            program=sandbox.put("program", [source.program]),
            weights=sandbox.put("weights", [source.weights]),
        )
    return caught.value.code


def test_conversion_when_over_its_limits_then_ends_alone_and_leaves_nothing(
    limited: Callable[..., Sandbox], tmp_path: Path
) -> None:
    slow, hungry = limited(cpu_s=1), limited(memory_bytes=300 * 2**20)
    assert torchscript_of(slow, 60) == "process.crashed"
    assert not slow.is_running
    assert torchscript_of(hungry, 60) in {"process.crashed", "converter.over_limit"}
    late = limited()
    assert torchscript_of(late, 0.05) == "process.hung"
    assert not late.is_running
    assert list(tmp_path.iterdir()) == []


def test_toolchain_when_named_then_is_the_python_of_the_converters(toolchain_python: Path) -> None:
    assert toolchain.python() == toolchain_python
