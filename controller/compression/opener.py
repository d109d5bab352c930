"""Serves inside the sandbox: opens one program, measures weights with it, exports and quantizes.

Opening a program runs code of the file, so by then this process is worth nothing to an attacker. All comes and goes in
frames: {op: open, program}, {op: evaluate, weights, dataset}, {op: export, weights}, {op: quantize, model,
calibration}.
"""

import io
import socket
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from controller.compression.export.onnx import export_onnx
from controller.compression.quantize import quantize
from shoal.runtimes.frames import read_frame, write_frame
from shoal.training.loop import evaluate
from shoal.training.programs import WeightsMismatch, read_weights, set_weights
from shoal.wire.errors import WireError
from shoal.wire.tensors import decode_tensors


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Opener:
    """The requests, one method each."""

    def __init__(self) -> None:
        self._program: torch.export.ExportedProgram | None = None
        self._net: nn.Module | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for; what is wrong with it is part of the answer."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "open": self.open,
            "evaluate": self.evaluate,
            "export": self.export,
            "quantize": self.quantize,
        }
        try:
            arguments = dict(request)
            return {"ok": True, **operations[arguments.pop("op")](**arguments)}
        except _Refused as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except WireError as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except WeightsMismatch as error:
            return {"ok": False, "code": "model.weights_mismatch", "message": str(error)}
        except MemoryError:
            return {
                "ok": False,
                "code": "program.over_limit",
                "message": "The program needs more memory than it may use.",
            }

    def open(self, program: bytes) -> dict[str, Any]:
        """Load a program: the one place where that happens."""
        try:
            self._program = torch.export.load(io.BytesIO(program))
            self._net = self._program.module()
        except MemoryError:
            raise
        except Exception as error:  # whatever the file makes the loader do
            raise _Refused("program.not_loadable", f"torch.export.load refuses it: {_said(error)}") from error
        return {}

    def evaluate(self, weights: bytes, dataset: bytes) -> dict[str, Any]:
        """Measure weights on a data set."""
        net = self._with(weights)[1]
        tensors = decode_tensors(dataset)
        try:
            measured = evaluate(net, tensors["x"], tensors["y"])
        except (RuntimeError, IndexError, TypeError, ValueError, AssertionError) as error:
            raise _Refused("program.does_not_fit", f"The program does not take the data set: {_said(error)}") from error
        return {"accuracy": measured.accuracy, "loss": measured.loss, "samples": measured.samples}

    def export(self, weights: bytes) -> dict[str, Any]:
        """Give the ONNX file of the program with these weights."""
        program, _ = self._with(weights)
        try:
            return {"model": export_onnx(program)}
        except Exception as error:  # the exporter fails in as many ways as there are programs
            raise _Refused("export.failed", f"The program has no ONNX form: {_said(error)}") from error

    def quantize(self, model: bytes, calibration: bytes) -> dict[str, Any]:
        """Give the int8 file of an ONNX file."""
        x = decode_tensors(calibration)["x"]
        try:
            return {"model": quantize(model, x)}
        except Exception as error:  # likewise
            raise _Refused("quantize.failed", f"The model could not be quantized: {_said(error)}") from error

    def _with(self, weights: bytes) -> tuple[torch.export.ExportedProgram, nn.Module]:
        if self._program is None or self._net is None:
            raise _Refused("program.not_open", "Open a program first.")
        arrays = read_weights(weights)
        set_weights(self._net, arrays)
        with torch.no_grad():
            for name, tensor in self._program.state_dict.items():
                tensor.copy_(torch.from_numpy(arrays[name]))
        return self._program, self._net


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    torch.set_num_threads(1)
    opener = Opener()
    while (request := read_frame(connection)) is not None:
        write_frame(connection, opener.answer(request))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1500]
