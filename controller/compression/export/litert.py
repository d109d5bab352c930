"""A program to one TensorFlow Lite file by litert-torch; int8 and fp16 by ai-edge-quantizer.

Its tensors have the signature's names; its batch is one sample, as the delegates want fixed sizes. int8: weights one
scale a channel, activations one a tensor from minimum and maximum over all samples. The quantizer's own default, a
moving average of each sample's extremes, cuts off what it saw rarely: on a small regression net the largest error was
0.74 of the range instead of 0.02.
"""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, Final

import numpy as np

from controller.compression.export.conversion import Conversion, ConversionError, Converted, Settings
from controller.compression.export.programs import examples, flat_net, float_modules
from controller.compression.export.refusals import brief, refusal

FORMAT: Final = "tflite"
_SIGNATURE: Final = "serving_default"


class LitertSettings(Settings, frozen=True):
    """Of this converter.

    Attributes:
        int8_tensors: int8 inputs and outputs too, for devices without float; otherwise the file converts them itself.
        per_tensor: One scale for all of a layer's weights.
    """

    int8_tensors: bool = False
    per_tensor: bool = False


def convert(request: Conversion) -> Converted:
    """Give the file.

    Raises:
        ConversionError: `export.*`, `quantize.failed`, `calibration.*`, `program.*`, ...
    """
    settings = request.chosen(LitertSettings, "minmax")
    net = flat_net(request)
    floats = float_modules(net, settings)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        model = _named(_lowered(net, request, settings), request)
        if request.precision == "fp32":
            return Converted(model=model, format=FORMAT)
        try:
            return Converted(
                model=_quantized(model, request, settings, floats), format=FORMAT, notes=_notes(request, settings)
            )
        except (ConversionError, MemoryError):
            raise
        except Exception as error:  # as many as there are graphs
            message = f"ai-edge-quantizer refuses it: {type(error).__name__}: {brief(error)}"
            raise ConversionError("quantize.failed", message) from error


def operators(model: bytes) -> list[str]:
    """Give the names of the operators of a file, in order."""
    from ai_edge_litert.tools import flatbuffer_utils

    read = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    names = {value: name for name, value in vars(flatbuffer_utils.BuiltinOperator).items() if isinstance(value, int)}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in read.operatorCodes]
    return [names.get(codes[node.opcodeIndex], "?") for graph in read.subgraphs for node in graph.operators]


def _lowered(net: Any, request: Conversion, settings: LitertSettings) -> bytes:
    import litert_torch

    try:
        converted = litert_torch.convert(net, examples(request.signature, settings))
    except (ConversionError, MemoryError):
        raise
    except Exception as error:
        raise refusal(error, "LiteRT") from error
    return bytes(converted.model_content())


def _named(model: bytes, request: Conversion) -> bytes:
    """Give the inputs and outputs the signature's names."""
    from ai_edge_litert.tools import flatbuffer_utils

    read = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    (signature,) = read.signatureDefs
    graph = read.subgraphs[signature.subgraphIndex]
    sides = (
        ("args_", signature.inputs, request.signature.inputs),
        ("output_", signature.outputs, request.signature.outputs),
    )
    for prefix, maps, specs in sides:
        for one in maps:
            name = one.name.decode() if isinstance(one.name, bytes) else one.name
            spec = specs[int(name.removeprefix(prefix))]
            one.name = spec.name
            graph.tensors[one.tensorIndex].name = spec.name
        order = {spec.name: number for number, spec in enumerate(specs)}
        maps.sort(key=lambda one: order[one.name])
    graph.inputs = np.array([one.tensorIndex for one in signature.inputs], np.int32)
    graph.outputs = np.array([one.tensorIndex for one in signature.outputs], np.int32)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(read))


def _quantized(model: bytes, request: Conversion, settings: LitertSettings, floats: list[str]) -> bytes:
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.utils import qsv_utils

    recipe = recipe_manager.RecipeManager()
    _write(recipe, request.precision, settings)
    for scope in _scopes(model, floats):
        recipe.add_quantization_config(scope, TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE)
    work = quantizer.Quantizer(bytearray(model), recipe.get_quantization_recipe())
    seen = None
    if work.need_calibration:
        calibration = calibrator.Calibrator(bytearray(model), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
        calibration.calibrate({_SIGNATURE: _each(request)}, recipe)
        seen = calibration.get_model_qsvs()
    made = work.quantize(seen, enable_progress_bar=False, enable_progress_report=False)
    return bytes(made.quantized_model)


def _scopes(model: bytes, modules: list[str]) -> list[str]:
    """Give the quantizer's names of the operators whose weights are those of some modules: it goes by outputs."""
    from ai_edge_litert.tools import flatbuffer_utils

    found = []
    for graph in flatbuffer_utils.read_model_from_bytearray(bytearray(model)).subgraphs:
        names = [tensor.name.decode() for tensor in graph.tensors]
        for node in graph.operators:
            taken = [names[number] for number in node.inputs[1:] if number >= 0]
            if any(f"_{module};" in name for name in taken for module in modules):
                found += [f"^{re.escape(names[number])};?$" for number in node.outputs]
    return found


def _write(recipe: Any, precision: str, settings: LitertSettings) -> None:
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import (
        ComputePrecision,
        OpQuantizationConfig,
        QuantGranularity,
        TensorDataType,
        TensorQuantizationConfig,
        TFLOperationName,
    )

    granularity = QuantGranularity.TENSORWISE if settings.per_tensor else QuantGranularity.CHANNELWISE
    everything = TFLOperationName.ALL_SUPPORTED
    if precision == "int8":
        recipe.add_static_config(".*", everything, 8, 8, weight_granularity=granularity)
        if not settings.int8_tensors:
            for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
                recipe.add_quantization_config(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)
    elif precision == "int8-dynamic":
        recipe.add_dynamic_config(".*", everything, 8, granularity)
    else:
        half = OpQuantizationConfig(
            weight_tensor_config=TensorQuantizationConfig(num_bits=16, dtype=TensorDataType.FLOAT),
            compute_precision=ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        recipe.add_quantization_config(".*", everything, half, AlgorithmName.FLOAT_CASTING)


def _each(request: Conversion) -> list[dict[str, Any]]:
    samples = request.samples()
    count = len(next(iter(samples.values())))
    return [{name: array[one : one + 1] for name, array in samples.items()} for one in range(count)]


def _notes(request: Conversion, settings: LitertSettings) -> dict[str, Any]:
    if request.precision != "int8":
        return {"float_layers": settings.float_layers}
    return {
        "weights": "int8 per tensor" if settings.per_tensor else "int8 per channel",
        "activations": f"int8 {settings.calibration}",
        "inputs": "int8" if settings.int8_tensors else "as declared",
        "samples": len(next(iter(request.samples().values()))),
        "float_layers": settings.float_layers,
    }
