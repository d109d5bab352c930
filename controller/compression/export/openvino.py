"""A program or an ONNX file to OpenVINO's intermediate representation, `model.xml` and `model.bin` in a stored zip.

A program goes by way of ONNX. int8 by NNCF on OpenVINO's own graph; fp16 halves the stored weights only.
"""

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from controller.compression.export.conversion import Conversion, ConversionError, Converted, Settings
from controller.compression.export.onnx import onnx_of
from controller.compression.export.refusals import brief, refusal

FORMAT: Final = "openvino"
_BATCH: Final = 1
_PARTS: Final = ("model.xml", "model.bin")
_DATE: Final = (2020, 1, 1, 0, 0, 0)  # the same bytes for the same model


def convert(request: Conversion) -> Converted:
    """Give the zip.

    Raises:
        ConversionError: `export.*`, `quantize.failed`, `calibration.*`, `model.not_loadable`, `program.*`, ...
    """
    settings = request.chosen(Settings, "minmax", "percentile")
    model = _read(onnx_of(request))
    notes: dict[str, Any] = {}
    if request.precision == "int8":
        samples = request.samples()
        model = _quantized(model, samples, settings)
        notes = {
            "weights": "int8 per channel",
            "activations": f"int8 {settings.calibration}",
            "samples": len(next(iter(samples.values()))),
            "float_layers": settings.float_layers,
        }
    return Converted(model=_zipped(model, is_half=request.precision == "fp16"), format=FORMAT, notes=notes)


def _read(onnx: bytes) -> Any:
    """Give OpenVINO's graph; simplified, so that the weights of grouped convolutions are constants to the quantizer."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(onnx)
        try:
            return openvino.convert_model(path)
        except MemoryError:
            raise
        except Exception as error:  # as many as there are files
            raise refusal(error, "OpenVINO") from error


def _quantized(model: Any, samples: Mapping[str, Any], settings: Settings) -> Any:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    count = len(next(iter(samples.values())))
    batches = [
        {name: array[start : start + _BATCH] for name, array in samples.items()} for start in range(0, count, _BATCH)
    ]
    ranges = {
        "minmax": RangeEstimatorParametersSet.MINMAX,
        "percentile": RangeEstimatorParametersSet.MEAN_QUANTILE,
    }[settings.calibration]
    ignored = _nodes_of(model, settings.float_layers)
    try:
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=count,
            ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
            advanced_parameters=AdvancedQuantizationParameters(activations_range_estimator_params=ranges),
        )
    except (ConversionError, MemoryError):
        raise
    except Exception as error:  # as many as there are graphs
        raise ConversionError("quantize.failed", f"NNCF refuses it: {type(error).__name__}: {brief(error)}") from error


def _nodes_of(model: Any, layers: list[str]) -> list[str]:
    """Give the names of the nodes that take the layers' weights.

    Raises:
        ConversionError: `recipe.unknown_layer`.
    """
    found: dict[str, str] = {}
    for node in model.get_ordered_ops():
        for value in node.input_values():
            source = value.get_node()
            if source.get_type_name() == "Constant":
                found.setdefault(source.get_friendly_name().removesuffix(".weight"), node.get_friendly_name())
    for layer in layers:
        if layer not in found:
            raise ConversionError("recipe.unknown_layer", f"There is no layer {layer[:100]}.")
    return [found[layer] for layer in layers]


def _zipped(model: Any, *, is_half: bool) -> bytes:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder) / _PARTS[0], compress_to_fp16=is_half)
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
            for part in _PARTS:
                archive.writestr(zipfile.ZipInfo(part, _DATE), (Path(folder) / part).read_bytes())
        return made.getvalue()
