"""Quantizing ONNX files: static int8 as QDQ, which ONNX Runtime and OpenVINO both run, dynamic int8, and fp16.

Static: weights get one symmetric scale a filter, activations one range a tensor from calibration samples
(`calibrate`). Source: Nagel et al. 2021, sections 2.2 and 3.1, arXiv:2106.08295; the form is ONNX Runtime's.

Not here: which layers are worth float (`sensitivity`).
"""

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto
from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_dynamic
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from controller.compression.graphs.calibrate import MAX_SAMPLES, Ranges, ranges_of
from controller.compression.graphs.slim import eight_bit_weights, slim
from controller.compression.graphs.weights import LAYERS
from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Samples
from controller.compression.networks.train import Said, ignore, part
from shoal.schemas.recipes import Quantize
from shoal.wire.models import Datatype, Signature, TensorSpec

MIN_SAMPLES: Final = 8  # to calibrate with
_MIN_OPSET: Final = 13  # the first whose QuantizeLinear knows channels
# What is no sum of products loses the most in 8 bits, and gains no time.
_FLOAT: Final = frozenset(
    {
        "ArgMax",
        "CumSum",
        "EmbedLayerNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "Sigmoid",
        "Softmax",
        "TopK",
        "Where",
    }
)
_DATATYPES: Final[dict[int, Datatype]] = {
    TensorProto.BOOL: Datatype.BOOL,
    TensorProto.UINT8: Datatype.UINT8,
    TensorProto.INT8: Datatype.INT8,
    TensorProto.INT16: Datatype.INT16,
    TensorProto.INT32: Datatype.INT32,
    TensorProto.INT64: Datatype.INT64,
    TensorProto.FLOAT16: Datatype.FP16,
    TensorProto.FLOAT: Datatype.FP32,
    TensorProto.DOUBLE: Datatype.FP64,
}
_INT8_TYPES: Final = sorted({*QDQRegistry, *QLinearOpsRegistry} - _FLOAT)
_SUFFIXES: Final = (".weight", "_weight", "/weight")


@dataclass(frozen=True)
class Quantized:
    """A quantized file with its figures."""

    model: bytes
    figures: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A float32 file that is ready to be quantized: batch norms folded, constants too, shapes known.

    Attributes:
        layers: The convolutions and linear maps with weights of their own: the node's name by the one that people know.
        tensors: Whose ranges are needed.
    """

    model: ModelProto
    layers: dict[str, str]
    tensors: list[str]


def file_signature(model: bytes) -> Signature:
    """Give what an ONNX file takes and gives.

    Raises:
        Refused: `quantize.failed`.
    """
    with _refusing("The file is no ONNX, or has tensors of an unknown kind"):
        graph = onnx.load_from_string(model).graph
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        return Signature([_spec(value) for value in inputs], [_spec(value) for value in graph.output])


def prepare(model: bytes) -> Prepared:
    """Make a file ready, bring it to an operator set that can be quantized too.

    Raises:
        Refused: `quantize.failed`, `quantize.nothing`.
    """
    with _refusing("The file cannot be prepared"):
        proto = onnx.load_from_string(model)
        for number, node in enumerate(proto.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        labels = {node.name: label for node, label in _labelled(proto)}
        version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        if version < _MIN_OPSET:
            proto = onnx.version_converter.convert_version(proto, _MIN_OPSET)
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "source.onnx", Path(folder) / "prepared.onnx"
            onnx.save(proto, source)
            quant_pre_process(source, target, skip_symbolic_shape=True)
            proto = onnx.load(target)
    layers = {labels.get(node.name, label): node.name for node, label in _labelled(proto)}
    if not layers:
        raise Refused("quantize.nothing", "The file has no convolution and no linear map with weights of its own.")
    return Prepared(proto, layers, _calibrated(proto))


def static(
    prepared: Prepared, ranges: Ranges, *, float_layers: Collection[str] = (), only: Collection[str] = ()
) -> bytes:
    """Give the int8 file.

    Args:
        float_layers: Names of `prepared.layers` that stay in float.
        only: Names of those that alone become int8; none: all do, and what stands between them.

    Raises:
        Refused: `recipe.unknown_layer`, `quantize.failed`.
    """
    unknown = sorted(set(float_layers) - prepared.layers.keys())
    if unknown:
        known = ", ".join(list(prepared.layers)[:20])
        raise Refused("recipe.unknown_layer", f"There is no layer {unknown[0][:80]}; there are {known}.")
    tensors = {name: (np.float32(min(low, 0.0)), np.float32(max(high, 0.0))) for name, (low, high) in ranges.items()}
    proto = ModelProto()
    proto.CopyFrom(prepared.model)
    with _refusing("The file cannot be quantized"):
        quantizer = QDQQuantizer(
            proto,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            # Unsigned: with signed ones ONNX Runtime leaves a convolution without a ReLU, and each addition, in float
            # (EfficientNet-Lite0: 24 ms, 38 ms signed).
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, tensors),
            nodes_to_quantize=[prepared.layers[name] for name in only],
            nodes_to_exclude=[prepared.layers[name] for name in float_layers],
            op_types_to_quantize=_INT8_TYPES,
            extra_options={"QDQOpTypePerChannelSupportToAxis": {"MatMul": 1}},
        )
        quantizer.quantize_model()
        _keep_float_outputs(quantizer.model.model)
        return bytes(slim(quantizer.model.model).SerializeToString())


def dynamic(prepared: Prepared) -> bytes:
    """Give the file with int8 weights, whose linear maps give their inputs a range at each inference.

    Convolutions get their int8 weights back in float when the model is loaded: ONNX Runtime's dynamic convolution knows
    one scale for all filters and is slow (EfficientNet-Lite0: 84 ms, 10 ms in float, and 3 of 20 labels differ).

    Raises:
        Refused: `quantize.failed`.
    """
    with _refusing("The file cannot be quantized"), tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "dynamic.onnx"
        quantize_dynamic(
            prepared.model,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        proto = onnx.load(target)
        eight_bit_weights(proto)
        return bytes(slim(proto).SerializeToString())


def half(prepared: Prepared) -> bytes:
    """Give the file with float16 inside; inputs and outputs stay float32.

    Raises:
        Refused: `quantize.failed`.
    """
    proto = ModelProto()
    proto.CopyFrom(prepared.model)
    with _refusing("The file has no float16 form"):
        return bytes(slim(convert_float_to_float16(proto, keep_io_types=True)).SerializeToString())


def quantize(model: bytes, step: Quantize, calibration: Samples | None = None, *, said: Said = ignore) -> Quantized:
    """Give the file that a step asks for; `float_layers` by their names.

    Raises:
        Refused: `quantize.failed`, `quantize.nothing`, `recipe.unknown_layer`, `calibration.missing`, ...
    """
    prepared = prepare(model)
    said(0.1, "The file is prepared.")
    if step.mode == "fp16":
        return Quantized(half(prepared), {})
    if step.mode == "dynamic":
        return Quantized(dynamic(prepared), {})
    if calibration is None:
        raise Refused("calibration.missing", "Static quantization needs calibration samples.")
    ranges = ranges_of(
        prepared.model.SerializeToString(), prepared.tensors, calibration, step.calibration, said=part(said, 0.1, 0.9)
    )
    float_layers = step.float_layers if isinstance(step.float_layers, list) else []
    figures = {"calibration_samples": min(len(calibration), MAX_SAMPLES), "float_layers": list(float_layers)}
    return Quantized(static(prepared, ranges, float_layers=float_layers), figures)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Give whatever a file makes the libraries do one name."""
    try:
        yield
    except (MemoryError, Refused):
        raise
    except Exception as error:
        raise Refused("quantize.failed", f"{what}: {type(error).__name__}: {error}") from error


def _labelled(proto: ModelProto) -> list[tuple[NodeProto, str]]:
    """Give the layers with the names of their weights, which are those of the program's layers."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    found = []
    for node in proto.graph.node:
        if node.op_type in LAYERS and len(node.input) > 1 and node.input[1] in weights:
            label = node.input[1]
            for suffix in _SUFFIXES:
                label = label.removesuffix(suffix)
            found.append((node, label))
    doubled = {label for label, count in Counter(label for _, label in found).items() if count > 1}
    return [(node, node.name if label in doubled else label) for node, label in found]


def _calibrated(proto: ModelProto) -> list[str]:
    """Give the float tensors that go into or come out of what is quantized."""
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    floats = {
        value.name
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    constants = {tensor.name for tensor in proto.graph.initializer}
    names = [
        name
        for node in proto.graph.node
        if node.op_type in _INT8_TYPES
        for name in (*node.input, *node.output)
        if name in floats and name not in constants
    ]
    return list(dict.fromkeys(names))


def _keep_float_outputs(proto: ModelProto) -> None:
    """Let a linear map that gives an output give it in float: int8 between them loses digits, and time, for nothing."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    readers = Counter(name for node in proto.graph.node for name in node.input)
    for output in proto.graph.output:
        chain: list[NodeProto] = []
        name = output.name
        for kind in ("DequantizeLinear", "QuantizeLinear", "Gemm"):
            if name in makers and makers[name].op_type == kind and readers[name] == len(chain[:1]):
                chain.append(makers[name])
                name = chain[-1].input[0]
        if len(chain) == 3:
            chain[2].output[0] = output.name
            for node in chain[:2]:
                proto.graph.node.remove(node)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    told = value.type.tensor_type
    shape = [axis.dim_value if axis.HasField("dim_value") else -1 for axis in told.shape.dim]
    return TensorSpec(value.name, _DATATYPES[told.elem_type], shape)
