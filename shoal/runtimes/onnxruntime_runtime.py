"""ONNX Runtime, for `.onnx` files; the only importer of onnxruntime.

Options:
    provider: An execution provider that the installed wheel lists, `CPUExecutionProvider` if it is not named.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,
    RuntimeException,
)

from shoal.runtimes.model import NO_OPTIONS, Array, BadModel, LoadedModel, check_choice, check_options
from shoal.runtimes.signature import FileTensor, bind
from shoal.wire.models import Datatype, Signature

_CPU: Final = "CPUExecutionProvider"
_TYPES: Final = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
}
_ERRORS: Final = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeException, RuntimeError)


class OnnxFile:
    """A file in ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = _tensors(session.get_inputs())
        self.outputs = _tensors(session.get_outputs())
        self._names = [tensor.name for tensor in self.inputs]
        self._wanted = [tensor.name for tensor in self.outputs]

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run once."""
        try:
            outputs: list[Array] = self._session.run(self._wanted, dict(zip(self._names, arrays, strict=True)))
        except _ERRORS as error:
            raise BadModel("model.failed", f"ONNX Runtime could not run it: {str(error)[:500]}") from error
        return outputs

    def close(self) -> None:
        """Give the memory back."""
        del self._session


class OnnxRuntime:
    """Opens `.onnx` files."""

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file."""
        check_options(options, ["provider"])
        provider = options.get("provider", _CPU)
        check_choice("provider", provider, onnxruntime.get_available_providers())
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = threads
        settings.log_severity_level = 4
        # From its bytes: from a path, it would also read whatever files beside it the model names as its weights.
        try:
            session = onnxruntime.InferenceSession(path.read_bytes(), settings, providers=[provider])
        except _ERRORS as error:
            raise BadModel("model.not_loadable", f"ONNX Runtime cannot load it: {str(error)[:500]}") from error
        return bind(OnnxFile(session), signature)


RUNTIME: Final = OnnxRuntime()


def _tensors(arguments: list[onnxruntime.NodeArg]) -> list[FileTensor]:
    found = []
    for argument in arguments:
        datatype = _TYPES.get(argument.type)
        if datatype is None:
            raise BadModel("model.not_supported", f"The tensor {argument.name} is {argument.type}.")
        # No axes: a scalar, or a shape that the file does not tell.
        shape = tuple(axis if isinstance(axis, int) else -1 for axis in argument.shape) or None
        found.append(FileTensor(name=argument.name, datatype=datatype, shape=shape))
    return found
