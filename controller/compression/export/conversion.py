"""What a converter gets and gives, and which converter can do what. Pure; imported on both sides of the sandbox.

A converter is a module of this package with `convert(request: Conversion) -> Converted`. It imports its library inside
`convert` only, so that this package's names cost nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.wire.models import Signature

Converter = Literal["onnx", "openvino", "litert", "executorch", "torchscript", "armnn"]
Precision = Literal["fp32", "fp16", "int8", "int8-dynamic"]
Source = Literal["program", "onnx", "tflite"]
CONVERTERS: Final[tuple[str, ...]] = get_args(Converter)
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)
MAX_CALIBRATION_SAMPLES: Final = 512  # more moves no minimum or maximum worth its time


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every converter takes; some take more.

    Attributes:
        calibration: How ranges of activations are chosen.
        float_layers: Names of layers (of their weights, without `.weight`) that stay in float.
        sizes: Of free axes by input name, without the samples' axis, where a format has no free axes; 32 by default.
    """

    calibration: Literal["minmax", "percentile", "entropy"] = "minmax"
    float_layers: list[str] = []
    sizes: dict[str, list[int]] = {}


Chosen = TypeVar("Chosen", bound=Settings)


class ConversionError(Exception):
    """A file that cannot be made.

    Attributes:
        code: `export.unsupported_operator` (the message names operator and node), `export.not_supported`,
            `export.failed`, `quantize.failed`, `calibration.missing`, `calibration.bad_shape`, `program.not_loadable`,
            `program.does_not_fit`, `model.not_loadable`, `model.weights_mismatch`, `recipe.unknown_layer`,
            `settings.invalid`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message[:2000])
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What is wanted of which source.

    Attributes:
        program, weights: A `.pt2` and its weights; or
        model: a ready-made file, ONNX or TFLite by `source`.
        signature: Of the model; the made file's tensors have its names where the format has names.
        calibration: Samples by input name, samples first; needed for `int8`.
        settings: Of the converter; its module tells which.
    """

    signature: Signature
    precision: str
    source: str = "program"
    program: bytes | None = None
    weights: bytes | None = None
    model: bytes | None = None
    calibration: Mapping[str, NDArray[Any]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, kind: type[Chosen], *calibrations: str) -> Chosen:
        """Give the settings, as a converter takes them.

        Args:
            calibrations: The ways to choose ranges that the converter has.

        Raises:
            ConversionError: `settings.invalid`, `export.not_supported`.
        """
        try:
            settings = msgspec.convert(dict(self.settings), kind)
        except msgspec.ValidationError as error:
            raise ConversionError("settings.invalid", f"{error}") from error
        if self.precision == "int8" and settings.calibration not in calibrations:
            message = f"Ranges are chosen there by {' or '.join(calibrations)}, not by {settings.calibration}."
            raise ConversionError("export.not_supported", message)
        return settings

    def samples(self, most: int = MAX_CALIBRATION_SAMPLES) -> dict[str, NDArray[Any]]:
        """Give at most so many calibration samples, of each input.

        Raises:
            ConversionError: `calibration.missing`, `calibration.bad_shape`.
        """
        if not self.calibration:
            raise ConversionError("calibration.missing", f"{self.precision} needs calibration samples.")
        found = {}
        for spec in self.signature.inputs:
            samples = self.calibration.get(spec.name)
            if samples is None or len(samples) == 0:
                raise ConversionError("calibration.missing", f"There are no calibration samples of {spec.name}.")
            fits = samples.ndim == len(spec.shape) and all(
                wanted in (-1, got) for wanted, got in zip(spec.shape[1:], samples.shape[1:], strict=True)
            )
            if not fits:
                message = f"Calibration samples of {spec.name} have shape {samples.shape}; the input has {spec.shape}."
                raise ConversionError("calibration.bad_shape", message)
            found[spec.name] = np.ascontiguousarray(samples[:most])
        if len({len(samples) for samples in found.values()}) > 1:
            raise ConversionError("calibration.bad_shape", "The inputs have different numbers of calibration samples.")
        return found


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A made file.

    Attributes:
        format: `onnx`, `openvino`, `tflite`, `pte`, `torchscript`, `ptl`.
        notes: What else the variant's row shall keep: scheme, samples, and what was left in float.
    """

    model: bytes
    format: str
    notes: Mapping[str, Any] = field(default_factory=dict)


_CAN: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "onnx": {"program": frozenset({"fp32"})},  # its other precisions are made of this file: `quantize`
    "openvino": {"program": frozenset({"fp32", "fp16", "int8"}), "onnx": frozenset({"fp32", "fp16", "int8"})},
    "litert": {"program": frozenset(PRECISIONS)},
    "executorch": {"program": frozenset({"fp32", "int8", "int8-dynamic"})},
    "torchscript": {"program": frozenset({"fp32", "int8", "int8-dynamic"})},
    "armnn": {"program": frozenset({"fp32", "int8"}), "tflite": frozenset({"fp32"})},
}


def check(converter: str, precision: str, source: str) -> None:
    """Refuse what no converter does, before anything is started for it.

    Raises:
        ConversionError: `export.not_supported`.

    >>> check("litert", "int8", "program")
    >>> check("armnn", "fp16", "program")
    Traceback (most recent call last):
        ...
    controller.compression.export.conversion.ConversionError: armnn makes no fp16 of program; it can: fp32, int8.
    """
    sources = _CAN.get(converter, {})
    if precision not in sources.get(source, frozenset()):
        able = ", ".join(one for one in PRECISIONS if one in sources.get(source, frozenset())) or "nothing"
        raise ConversionError("export.not_supported", f"{converter} makes no {precision} of {source}; it can: {able}.")


def needs_toolchain(converter: str, precision: str, source: str) -> bool:
    """Tell whether a conversion needs the Python of the toolchain; the controller's own has the others' libraries.

    >>> needs_toolchain("openvino", "fp32", "program"), needs_toolchain("openvino", "int8", "program")
    (False, True)
    """
    if converter == "armnn":
        return source != "tflite"
    return converter in {"litert", "executorch"} or (converter == "openvino" and precision == "int8")
