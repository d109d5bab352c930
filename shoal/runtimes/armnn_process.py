"""Runs a `.tflite` file in Arm NN, under the system's Python, which alone has Debian's pyarmnn.

Started by `armnn_runtime` with the number of a connected socket. Imports nothing of Shoal, as that Python has none.

Frames both ways: four bytes of length, then JSON. After {"op": "run"}, and after its answer, the tensors' bytes follow.
"""

import json
import os
import socket
import struct
import sys
from typing import Any

import numpy as np
import pyarmnn

# pyarmnn's numbers -> words of the Open Inference Protocol, and NumPy's.
_TYPES = {
    pyarmnn.DataType_Float32: ("FP32", np.float32),
    pyarmnn.DataType_Float16: ("FP16", np.float16),
    pyarmnn.DataType_QAsymmU8: ("UINT8", np.uint8),
    pyarmnn.DataType_QAsymmS8: ("INT8", np.int8),
    pyarmnn.DataType_QSymmS8: ("INT8", np.int8),
    pyarmnn.DataType_QSymmS16: ("INT16", np.int16),
    pyarmnn.DataType_Signed32: ("INT32", np.int32),
}


class Refused(Exception):
    """What cannot be done, with its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Network:
    """A loaded network."""

    def __init__(self, path: str, backend: str) -> None:
        self._runtime = pyarmnn.IRuntime(pyarmnn.CreationOptions())
        spec = self._runtime.GetDeviceSpec()
        try:
            parser = pyarmnn.ITfLiteParser()
            network = parser.CreateNetworkFromBinaryFile(path)
            inputs, outputs = parser.GetSubgraphInputTensorNames(0), parser.GetSubgraphOutputTensorNames(0)
            self._inputs = [parser.GetNetworkInputBindingInfo(0, name) for name in inputs]
            self._outputs = [parser.GetNetworkOutputBindingInfo(0, name) for name in outputs]
            options = pyarmnn.OptimizerOptions()
            optimized, _ = pyarmnn.Optimize(network, [pyarmnn.BackendId(backend)], spec, options)
            self._network, _ = self._runtime.LoadNetwork(optimized)
        except RuntimeError as error:
            raise Refused("model.not_loadable", f"Arm NN cannot load it on {backend}: {str(error)[:500]}") from error
        self.described = {
            "inputs": [_described(name, info) for name, (_, info) in zip(inputs, self._inputs, strict=True)],
            "outputs": [_described(name, info) for name, (_, info) in zip(outputs, self._outputs, strict=True)],
        }
        self.sizes = [info.GetNumBytes() for _, info in self._inputs]
        self._results = pyarmnn.make_output_tensors(self._outputs)

    def run(self, inputs: list[bytes]) -> list[bytes]:
        """Give the outputs' bytes for the inputs' bytes."""
        arrays = [
            np.frombuffer(data, _TYPES[info.GetDataType()][1]).copy()
            for data, (_, info) in zip(inputs, self._inputs, strict=True)
        ]
        tensors = pyarmnn.make_input_tensors(self._inputs, arrays)
        try:
            self._runtime.EnqueueWorkload(self._network, tensors, self._results)
        except RuntimeError as error:
            raise Refused("model.failed", f"Arm NN could not run it: {str(error)[:500]}") from error
        return [tensor.get_memory_area().tobytes() for _, tensor in self._results]


def _described(name: str, info: Any) -> dict[str, Any]:
    if info.GetDataType() not in _TYPES:
        raise Refused("model.not_supported", f"Arm NN's type {info.GetDataType()} of the tensor {name} is not known.")
    return {
        "name": name,
        "datatype": _TYPES[info.GetDataType()][0],
        "shape": list(info.GetShape()),
        "scale": info.GetQuantizationScale() if info.IsQuantized() else 0.0,
        "zero_point": info.GetQuantizationOffset() if info.IsQuantized() else 0,
    }


def _read(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(min(length - len(data), 1 << 20))
        if not chunk:
            sys.exit(0)
        data += chunk
    return bytes(data)


def main(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    network: Network | None = None
    while True:
        (length,) = struct.unpack(">I", _read(connection, 4))
        request = json.loads(_read(connection, length))
        payload: list[bytes] = []
        try:
            if request["op"] == "load":
                network = Network(request["path"], request["backend"])
                described = network.described
            elif network is None:
                raise Refused("model.not_loaded", "Load a model first.")
            else:
                payload = network.run([_read(connection, size) for size in network.sizes])
                described = {}
            answer: dict[str, Any] = {"ok": True, **described}
        except Refused as error:
            answer = {"ok": False, "code": error.code, "message": str(error)}
        body = json.dumps(answer).encode()
        connection.sendall(struct.pack(">I", len(body)) + body + b"".join(payload))


if __name__ == "__main__":
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the library writes there what nobody reads
    main(socket.socket(fileno=int(sys.argv[1])))
