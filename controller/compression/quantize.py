"""Static quantization of an ONNX file to int8, as QDQ, which ONNX Runtime and OpenVINO both run.

Weights get one scale a channel, activations one a tensor from the calibration samples (min and max).
Source: Nagel et al. 2021, sections 2.2 and 3.1, arXiv:2106.08295.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

MAX_CALIBRATION_SAMPLES: Final = 512  # more moves no minimum or maximum worth its time
_BATCH: Final = 32


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """The calibration samples, a batch at a time."""

    def __init__(self, x: NDArray[np.float32]) -> None:
        self._batches: Iterator[NDArray[np.float32]] = iter(
            [x[start : start + _BATCH] for start in range(0, len(x), _BATCH)]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Give the next batch by input name, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"input": batch}


def quantize(model: bytes, calibration: NDArray[np.float32]) -> bytes:
    """Give the int8 file of a float32 one.

    Args:
        model: One ONNX file with weights inside.
        calibration: [samples, ...] as the model's input; at least one.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        source = Path(folder) / "fp32.onnx"
        source.write_bytes(model)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Samples(calibration[:MAX_CALIBRATION_SAMPLES]),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return quantized.read_bytes()
