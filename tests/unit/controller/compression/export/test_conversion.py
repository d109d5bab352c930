"""What a conversion gets, and which converter can do what."""

import subprocess
import sys

import numpy as np
import pytest

from controller.compression.export.conversion import (
    CONVERTERS,
    PRECISIONS,
    Conversion,
    ConversionError,
    Settings,
    check,
    needs_toolchain,
)
from shoal.wire.models import Datatype, Signature, TensorSpec

SIGNATURE = Signature(
    inputs=[TensorSpec("image", Datatype.FP32, [-1, 3, -1, -1]), TensorSpec("facts", Datatype.FP32, [-1, 5])],
    outputs=[TensorSpec("scores", Datatype.FP32, [-1, 4])],
)
IMAGES, FACTS = np.zeros((6, 3, 8, 9), np.float32), np.zeros((6, 5), np.float32)


def conversion(**changed: object) -> Conversion:
    return Conversion(**{"signature": SIGNATURE, "precision": "int8", **changed})  # type: ignore[arg-type]


def test_samples_when_more_than_wanted_then_are_the_first() -> None:
    found = conversion(calibration={"image": IMAGES, "facts": FACTS, "more": FACTS}).samples(4)
    assert {name: len(array) for name, array in found.items()} == {"image": 4, "facts": 4}


@pytest.mark.parametrize(
    ("calibration", "code"),
    [
        (None, "calibration.missing"),
        ({"image": IMAGES}, "calibration.missing"),
        ({"image": IMAGES[:0], "facts": FACTS}, "calibration.missing"),
        ({"image": IMAGES, "facts": FACTS[:5]}, "calibration.bad_shape"),
        ({"image": IMAGES[:, :2], "facts": FACTS}, "calibration.bad_shape"),
        ({"image": IMAGES, "facts": FACTS[:, :, None]}, "calibration.bad_shape"),
    ],
)
def test_samples_when_they_do_not_fit_then_are_refused(calibration: object, code: str) -> None:
    with pytest.raises(ConversionError) as caught:
        conversion(calibration=calibration).samples()
    assert caught.value.code == code


def test_settings_when_unknown_or_not_there_then_are_refused() -> None:
    assert conversion().chosen(Settings, "minmax") == Settings()
    for settings, code in (
        ({"calibration": "entropy"}, "export.not_supported"),
        ({"calibration": "guess"}, "settings.invalid"),
        ({"float_layers": "conv1"}, "settings.invalid"),
        ({"more": 1}, "settings.invalid"),
    ):
        with pytest.raises(ConversionError) as caught:
            conversion(settings=settings).chosen(Settings, "minmax")
        assert caught.value.code == code


def test_check_when_no_converter_does_it_then_names_what_it_can() -> None:
    able = {
        converter: [precision for precision in PRECISIONS if _can(converter, precision)] for converter in CONVERTERS
    }
    assert able == {
        "onnx": ["fp32"],
        "openvino": ["fp32", "fp16", "int8"],
        "litert": ["fp32", "fp16", "int8", "int8-dynamic"],
        "executorch": ["fp32", "int8", "int8-dynamic"],
        "torchscript": ["fp32", "int8", "int8-dynamic"],
        "armnn": ["fp32", "int8"],
    }


def _can(converter: str, precision: str) -> bool:
    try:
        check(converter, precision, "program")
    except ConversionError as error:
        assert error.code == "export.not_supported"
        return False
    return True


def test_toolchain_when_the_own_python_has_the_library_then_is_not_needed() -> None:
    needing = {converter for converter in CONVERTERS if needs_toolchain(converter, "fp32", "program")}
    assert needing == {"litert", "executorch", "armnn"}
    assert not needs_toolchain("armnn", "fp32", "tflite")


def test_converters_when_imported_then_their_libraries_are_not() -> None:
    modules = ", ".join(f"controller.compression.export.{name}" for name in CONVERTERS)
    heavy = ["torch", "onnx", "openvino", "litert_torch", "executorch", "ai_edge_litert", "nncf"]
    modules += ", controller.compression.workers.converter"
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
