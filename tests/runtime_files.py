"""Files of each format with one and the same small network in them, made on the spot, for tests of the runtimes.

`linear`: `output` = `input` @ WEIGHTS. `pair`: `total` = `left` + `right`, `output` = `total` @ WEIGHTS.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import openvino
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from shoal.wire.models import Datatype, Signature, TensorSpec
from tests.models import WEIGHTS

ROOT = Path(__file__).parent.parent
ROWS, COLUMNS = WEIGHTS.shape


def spec(name: str, *shape: int, datatype: Datatype = Datatype.FP32) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=list(shape))


LINEAR = Signature(inputs=[spec("input", -1, ROWS)], outputs=[spec("output", -1, COLUMNS)])
PAIR = Signature(
    inputs=[spec("left", -1, ROWS), spec("right", -1, ROWS)],
    outputs=[spec("total", -1, ROWS), spec("output", -1, COLUMNS)],
)

# ---------------------------------------------------------------- ONNX, OpenVINO


def pair_onnx() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["left", "right"], ["total"]), helper.make_node("MatMul", ["total", "w"], ["output"])],
        "pair",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", ROWS]) for name in ("left", "right")],
        [
            helper.make_tensor_value_info("total", TensorProto.FLOAT, ["batch", ROWS]),
            helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", COLUMNS]),
        ],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def identity_onnx(*axes: int) -> bytes:
    """`output` = `input`, of these axes behind the samples'."""
    shape = ["batch", *axes]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["output"])],
        "identity",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def openvino_ir(model: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "model.xml"
        openvino.save_model(openvino.Core().read_model(model), xml, compress_to_fp16=False)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for path in (xml, xml.with_suffix(".bin")):
                archive.write(path, path.name)
    return packed.getvalue()


# ---------------------------------------------------------------- TensorFlow Lite


@dataclass(frozen=True)
class Number:
    """How a tensor's elements are kept: value = scale * (element - zero_point), one scale or one a row."""

    type: int
    scale: Sequence[float] = ()
    zero_point: int = 0


FLOAT = Number(schema.TensorType.FLOAT32)
BYTE = Number(schema.TensorType.INT8, [8 / 255], 0)  # -4..4


class TfLite:
    """A `.tflite` file as it grows."""

    def __init__(self) -> None:
        self._buffers = [schema.BufferT()]
        self._tensors: list[Any] = []
        self._codes: list[int] = []
        self._operators: list[Any] = []

    def tensor(self, name: str, shape: Sequence[int], number: Number = FLOAT, data: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.type = name.encode(), number.type
        made.shape = [abs(axis) for axis in shape]
        if -1 in shape:
            made.shapeSignature = list(shape)
        if number.scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = list(number.scale)
            made.quantization.zeroPoint = [number.zero_point] * len(number.scale)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def operator(
        self, code: int, inputs: Sequence[int], outputs: Sequence[int], kind: int = 0, options: Any = None
    ) -> None:
        made = schema.OperatorT()
        made.opcodeIndex = len(self._codes)
        made.inputs, made.outputs = list(inputs), list(outputs)
        made.builtinOptionsType, made.builtinOptions = kind, options
        self._codes.append(code)
        self._operators.append(made)

    def add(self, left: int, right: int, output: int) -> None:
        options = schema.AddOptionsT()
        self.operator(schema.BuiltinOperator.ADD, [left, right], [output], schema.BuiltinOptions.AddOptions, options)

    def fully_connected(self, inputs: Sequence[int], output: int) -> None:
        kind, options = schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()
        self.operator(schema.BuiltinOperator.FULLY_CONNECTED, inputs, [output], kind, options)

    def file(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = []
        for code in self._codes:
            made = schema.OperatorCodeT()
            made.builtinCode = made.deprecatedBuiltinCode = code
            made.version = 4 if code == schema.BuiltinOperator.FULLY_CONNECTED else 2
            model.operatorCodes.append(made)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def linear_tflite(batch: int = 1, weights: NDArray[np.float32] = WEIGHTS) -> bytes:
    made = TfLite()
    rows, columns = weights.shape
    x = made.tensor("input", [batch, rows])
    w = made.tensor("w", [columns, rows], data=weights.T)
    y = made.tensor("output", [batch, columns])
    made.fully_connected([x, w], y)
    return made.file([x], [y])


def pair_tflite() -> bytes:
    made = TfLite()
    left, right = (made.tensor(name, [1, ROWS]) for name in ("left", "right"))
    total = made.tensor("total", [1, ROWS])
    made.add(left, right, total)
    y = made.tensor("output", [1, COLUMNS])
    made.fully_connected([total, made.tensor("w", [COLUMNS, ROWS], data=WEIGHTS.T)], y)
    return made.file([left, right], [total, y])


def linear_int8_tflite(*, per_channel: bool = False, is_padded: bool = False) -> bytes:
    """int8 inputs, outputs and weights; with PAD by nothing before the weights if asked for."""
    made = TfLite()
    scales = [1 / 127] * (COLUMNS if per_channel else 1)
    x = first = made.tensor("input", [1, ROWS], BYTE)
    if is_padded:
        first = made.tensor("padded", [1, ROWS], BYTE)
        nothing = made.tensor("nothing", [2, 2], Number(schema.TensorType.INT32), np.zeros((2, 2), np.int32))
        kind, options = schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
        made.operator(schema.BuiltinOperator.PAD, [x, nothing], [first], kind, options)
    weights = np.rint(WEIGHTS.T * 127).astype(np.int8)
    w = made.tensor("w", [COLUMNS, ROWS], Number(schema.TensorType.INT8, scales), weights)
    y = made.tensor("output", [1, COLUMNS], BYTE)
    made.fully_connected([first, w], y)
    return made.file([x], [y])


# ---------------------------------------------------------------- PyTorch


class Linear(nn.Module):
    def __init__(self, weights: NDArray[np.float32] = WEIGHTS) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.from_numpy(weights.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w


class Pair(Linear):
    def forward(  # type: ignore[override]
        self, left: torch.Tensor, right: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return left + right, (left + right) @ self.w


def torchscript(module: Linear, inputs: int = 1, *, is_lite: bool = False) -> bytes:
    example = tuple(torch.zeros(2, module.w.shape[0]) for _ in range(inputs))
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", DeprecationWarning)  # of the whole of torch.jit
        path = str(Path(folder) / "model")
        traced = torch.jit.trace(module.eval(), example)
        save = traced._save_for_lite_interpreter if is_lite else traced.save
        save(path)
        return Path(path).read_bytes()


def pte_files(python: Path) -> dict[str, bytes]:
    """`linear`, `linear-free` (up to 7 samples), `linear-4` (just 4), `pair`, `large`, as the toolchain makes them.

    That takes most of a minute, so they are kept in the user's cache for this script and this toolchain.
    """
    script = ROOT / "tests/make_pte.py"
    digest = hashlib.sha256(script.read_bytes() + str(python).encode()).hexdigest()[:16]
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "shoal/test-models" / digest
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            draft = Path(folder) / "pte"
            draft.mkdir()
            subprocess.run([python, script, draft], check=True, capture_output=True, cwd=ROOT)
            with suppress(OSError):  # another session was faster
                draft.rename(kept)
    return {path.stem: path.read_bytes() for path in kept.glob("*.pte")}


# ---------------------------------------------------------------- Edge Impulse


def eim(**behaviour: object) -> bytes:
    """An executable that speaks the protocol, in Python: `tests/eim_runner.py` with what it shall do."""
    script = (ROOT / "tests/eim_runner.py").read_text()
    return f"#!{sys.executable}\n{script}\n\nmain(json.loads({json.dumps(behaviour)!r}))\n".encode()
