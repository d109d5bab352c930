"""Arm NN, for `.tflite` files, in a process of the system's Python, which alone has Debian's pyarmnn (`armnn_process`).

Refused before it is tried: 8-bit weights with one scale a channel, which end the library's process, and PAD of 8-bit
tensors, which silently gives wrong answers (both seen with 20.08).

Options:
    backend: `CpuRef` if it is not named; `CpuAcc` and `GpuAcc` are of packages of their own.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal.runtimes.companion import Companion
from shoal.runtimes.model import DTYPES, NO_OPTIONS, Array, BadModel, LoadedModel, check_choice, check_options
from shoal.runtimes.signature import FileTensor, bind
from shoal.runtimes.tflite_file import read_tflite
from shoal.wire.models import Datatype, Signature

_PYTHON: Final = "/usr/bin/python3"
_BACKENDS: Final = ("CpuRef", "CpuAcc", "GpuAcc")
_LOAD_S: Final = 60.0
_RUN_S: Final = 30.0
_LENGTH: Final = struct.Struct(">I")
_MAX_ANSWER_BYTES: Final = 1024 * 1024


class ArmNnFile:
    """A file in Arm NN's process, which is started again after it ended."""

    def __init__(self, path: Path, backend: str) -> None:
        self._path = path
        self._backend = backend
        self._companion: Companion | None = None
        described = self._load()
        self.inputs = [_tensor(one) for one in described["inputs"]]
        self.outputs = [_tensor(one) for one in described["outputs"]]

    def run(self, arrays: list[Array]) -> Sequence[Array]:
        """Run once."""
        if self._companion is None:
            self._load()
        self._ask({"op": "run"}, _RUN_S, *(array.tobytes() for array in arrays))
        return [self._take(tensor) for tensor in self.outputs]

    def close(self) -> None:
        """Give the memory back."""
        if self._companion is not None:
            self._companion.close()
            self._companion = None

    def _load(self) -> dict[str, Any]:
        script = Path(__file__).with_name("armnn_process.py")
        # Isolated: neither this environment's libraries nor files beside the script are its business.
        self._companion = Companion.with_socket([_PYTHON, "-I", str(script)], name="Arm NN")
        try:
            return self._ask({"op": "load", "path": str(self._path), "backend": self._backend}, _LOAD_S)
        except BadModel:
            self.close()
            raise

    def _ask(self, request: dict[str, Any], timeout_s: float, *payload: bytes) -> dict[str, Any]:
        assert self._companion is not None
        body = json.dumps(request).encode()
        try:
            self._companion.begin(request["op"], timeout_s)
            self._companion.send(_LENGTH.pack(len(body)), body, *payload)
            (length,) = _LENGTH.unpack(self._companion.receive_exactly(_LENGTH.size))
            if length > _MAX_ANSWER_BYTES:
                raise self._companion.broken()
            answer: dict[str, Any] = json.loads(self._companion.receive_exactly(length))
        except BadModel:
            self._companion = None
            raise
        if not answer["ok"]:
            raise BadModel(answer["code"], answer["message"])
        return answer

    def _take(self, tensor: FileTensor) -> Array:
        assert self._companion is not None
        assert tensor.datatype is not None
        assert tensor.shape is not None
        dtype = DTYPES[tensor.datatype]
        try:
            data = self._companion.receive_exactly(math.prod(tensor.shape) * dtype.itemsize)
        except BadModel:
            self._companion = None
            raise
        return np.frombuffer(data, dtype).reshape(tensor.shape)


class ArmNn:
    """Opens `.tflite` files."""

    def open(
        self,
        path: Path,
        *,
        signature: Signature | None = None,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> LoadedModel:
        """Load a model's file; the library has its own mind about threads."""
        check_options(options, ["backend"])
        backend = options.get("backend", "CpuRef")
        check_choice("backend", backend, _installed_backends())
        file = read_tflite(path)
        if file.per_channel:
            message = f"Arm NN takes no weights with one scale a channel; {file.per_channel[0]} is such."
            raise BadModel("model.not_supported", message)
        if file.padded_int8:
            message = f"Arm NN answers wrongly where PAD reads 8-bit numbers; here it reads {file.padded_int8[0]}."
            raise BadModel("model.not_supported", message)
        return bind(ArmNnFile(path, backend), signature)


RUNTIME: Final = ArmNn()


def _installed_backends() -> list[str]:
    return [name for name in _BACKENDS if any(Path("/usr/lib").glob(f"*/armnn*/Arm_{name}_backend.so*"))]


def _tensor(described: dict[str, Any]) -> FileTensor:
    return FileTensor(
        name=described["name"],
        datatype=Datatype(described["datatype"]),
        shape=tuple(described["shape"]),
        scale=described["scale"],
        zero_point=described["zero_point"],
    )
