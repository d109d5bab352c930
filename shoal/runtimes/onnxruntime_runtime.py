"""ONNX Runtime on the CPU; the only importer of onnxruntime."""

from typing import Final

import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,
)

from shoal.runtimes.model import BadModel, LoadedModel, Tensor, TensorSpec, check_batch, check_signature

_TYPES: Final = {"tensor(float)": "FP32"}
_LOAD_ERRORS: Final = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeError)


class OnnxRuntimeModel:
    """A model in ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.input, self.output = check_signature(_specs(session.get_inputs()), _specs(session.get_outputs()))

    def infer(self, batch: Tensor) -> Tensor:
        """Give the outputs of a batch."""
        outputs: list[Tensor] = self._session.run([self.output.name], {self.input.name: check_batch(batch, self.input)})
        return outputs[0]

    def close(self) -> None:
        """Give the memory back."""
        del self._session


class OnnxRuntime:
    """Opens `.onnx` files."""

    def open(self, data: bytes, *, threads: int = 1) -> LoadedModel:
        """Load a model from its bytes."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except _LOAD_ERRORS as error:
            raise BadModel("model.not_loadable", f"ONNX Runtime cannot load it: {str(error)[:500]}") from error
        return OnnxRuntimeModel(session)


RUNTIME: Final = OnnxRuntime()


def _specs(arguments: list[onnxruntime.NodeArg]) -> list[TensorSpec]:
    return [
        TensorSpec(
            argument.name,
            _TYPES.get(argument.type, argument.type),
            tuple(axis if isinstance(axis, int) else -1 for axis in argument.shape),
        )
        for argument in arguments
    ]
