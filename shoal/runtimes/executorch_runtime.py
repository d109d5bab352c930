"""ExecuTorch with XNNPACK, for `.pte` files; the only importer of executorch. Its Python binding brings torch along.

A file has no names: its tensors are bound by position. The lengths that it states are the most that it takes; whether
fewer samples will do as well, only a run tells.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.runtime import Runtime as Library
from executorch.runtime import Verification

from shoal.runtimes.model import DTYPES, NO_OPTIONS, Array, BadModel, LoadedModel, check_options, datatype_of
from shoal.runtimes.signature import FileTensor, bind
from shoal.wire.models import Signature

_METHOD: Final = "forward"
# ExecuTorch numbers types as PyTorch's C++ does (c10/core/ScalarType.h).
_TYPES: Final = {
    0: np.uint8,
    1: np.int8,
    2: np.int16,
    3: np.int32,
    4: np.int64,
    5: np.float16,
    6: np.float32,
    7: np.float64,
    11: np.bool_,
}
_ERRORS: Final = (RuntimeError, ValueError, TypeError, KeyError)


class ExecuTorchFile:
    """A file in ExecuTorch.

    Attributes:
        most_samples: At a time, where their number is free.
    """

    def __init__(self, method: Any) -> None:
        self._method = method
        about = method.metadata
        inputs = [_tensor(about.input_tensor_meta(place)) for place in range(about.num_inputs())]
        outputs = [_tensor(about.output_tensor_meta(place)) for place in range(about.num_outputs())]
        self.inputs, self.outputs = inputs, outputs
        self.most_samples: int | None = None
        batches = {tensor.shape[0] if tensor.shape else 0 for tensor in inputs}
        if len(batches) == 1 and max(batches) > 1 and self._takes_one():
            self.most_samples = batches.pop()
            self.inputs, self.outputs = [_freed(one) for one in inputs], [_freed(one) for one in outputs]

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run once."""
        try:
            outputs = self._method.execute([torch.from_numpy(array) for array in arrays])
        except _ERRORS as error:
            raise BadModel("model.failed", f"ExecuTorch could not run it: {str(error)[:500]}") from error
        return [output.numpy() for output in outputs]

    def close(self) -> None:
        """Give the memory back."""
        del self._method

    def _takes_one(self) -> bool:
        try:
            self.run([np.zeros((1, *(tensor.shape or ())[1:]), DTYPES[_known(tensor)]) for tensor in self.inputs])
        except BadModel:
            return False
        return True


class ExecuTorch:
    """Opens `.pte` files."""

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file."""
        check_options(options, [])
        _unsafe_reset_threadpool(threads)
        torch.set_num_threads(threads)
        try:
            program = Library.get().load_program(path, verification=Verification.InternalConsistency)
            if _METHOD not in program.method_names:
                raise BadModel("model.not_loadable", f"The file has no method {_METHOD}.")
            file = ExecuTorchFile(program.load_method(_METHOD))
        except _ERRORS as error:
            raise BadModel("model.not_loadable", f"ExecuTorch cannot load it: {str(error)[:500]}") from error
        return bind(file, signature, most_samples=file.most_samples)


RUNTIME: Final = ExecuTorch()


def _tensor(about: Any) -> FileTensor:
    if about.dtype() not in _TYPES:
        raise BadModel("model.not_supported", f"A tensor's elements are of PyTorch's type {about.dtype()}.")
    return FileTensor(datatype=datatype_of(_TYPES[about.dtype()], "of the file"), shape=tuple(about.sizes()) or None)


def _known(tensor: FileTensor) -> Any:
    return tensor.datatype


def _freed(tensor: FileTensor) -> FileTensor:
    return FileTensor(datatype=tensor.datatype, shape=(-1, *(tensor.shape or ())[1:]))
