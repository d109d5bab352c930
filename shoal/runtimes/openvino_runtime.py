"""OpenVINO on the CPU, reading ONNX files, QDQ ones too; the only importer of openvino."""

from typing import Any, Final

import numpy as np
import openvino

from shoal.runtimes.model import BadModel, LoadedModel, Tensor, TensorSpec, check_batch, check_signature

_TYPES: Final = {"f32": "FP32"}


class OpenVinoModel:
    """A model in OpenVINO."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        self.input, self.output = check_signature(_specs(compiled.inputs), _specs(compiled.outputs))
        self._request = compiled.create_infer_request()

    def infer(self, batch: Tensor) -> Tensor:
        """Give the outputs of a batch."""
        outputs = self._request.infer({0: check_batch(batch, self.input)})
        return np.array(outputs[self._compiled.outputs[0]], dtype=np.float32)

    def close(self) -> None:
        """Give the memory back."""
        del self._request, self._compiled


class OpenVino:
    """Opens `.onnx` files."""

    def __init__(self) -> None:
        self._core = openvino.Core()

    def open(self, data: bytes, *, threads: int = 1) -> LoadedModel:
        """Load a model from its bytes."""
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Some CPUs run fp32 as bfloat16 otherwise, which no golden set of another machine agrees with.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            compiled = self._core.compile_model(self._core.read_model(data), "CPU", settings)
        except RuntimeError as error:
            raise BadModel("model.not_loadable", f"OpenVINO cannot load it: {str(error)[:500]}") from error
        return OpenVinoModel(compiled)


RUNTIME: Final = OpenVino()


def _specs(ports: list[Any]) -> list[TensorSpec]:
    return [
        TensorSpec(
            port.get_any_name(),
            _TYPES.get(port.get_element_type().get_type_name(), port.get_element_type().get_type_name()),
            tuple(axis.get_length() if axis.is_static else -1 for axis in port.get_partial_shape()),
        )
        for port in ports
    ]
