"""`python -m shoal.runtimes.runner --socket PATH`: one model in a process of its own.

What the device's trial and the cloud's evaluation both start: a native crash or a hang is this process's end, not
theirs. It takes one connection, answers its requests in order, and ends with it.

Requests: {op: load, runtime, path, threads}, {op: golden, path}, {op: infer, tensors}, {op: measure, path, runs},
{op: outputs, path, output}. Answers: {ok: true, ...} or {ok: false, code, message}.
"""

import argparse
import hashlib
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shoal.runtimes import load_runtime
from shoal.runtimes.frames import read_frame, serve_one, write_frame
from shoal.runtimes.golden import check_golden
from shoal.runtimes.model import BadModel, LoadedModel
from shoal.wire.errors import WireError
from shoal.wire.tensors import decode_tensors, encode_tensors

_BATCH = 64


class Runner:
    """The requests, one method each."""

    def __init__(self) -> None:
        self._model: LoadedModel | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for; what is wrong with it is part of the answer."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "load": self.load,
            "golden": self.golden,
            "infer": self.infer,
            "measure": self.measure,
            "outputs": self.outputs,
        }
        try:
            arguments = dict(request)
            return {"ok": True, **operations[arguments.pop("op")](**arguments)}
        except BadModel as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except WireError as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except OSError as error:
            return {"ok": False, "code": "artifact.unreadable", "message": str(error)}
        except (KeyError, TypeError) as error:
            return {"ok": False, "code": "request.invalid", "message": f"Not a request of the runner: {error}"}

    def load(self, runtime: str, path: str, threads: int = 1) -> dict[str, Any]:
        """Load a model; gives the digest of the bytes that were loaded."""
        data = Path(path).read_bytes()
        self._model = load_runtime(runtime).open(data, threads=threads)
        return {"sha256": hashlib.sha256(data).hexdigest(), "input_shape": list(self._model.input.shape)}

    def golden(self, path: str) -> dict[str, Any]:
        """Run a golden set."""
        return check_golden(self._loaded(), Path(path).read_bytes()).as_dict()

    def infer(self, tensors: bytes) -> dict[str, Any]:
        """Infer a batch given as safetensors `input`; answers `output` the same way."""
        output = self._loaded().infer(decode_tensors(tensors)["input"])
        return {"tensors": encode_tensors({"output": output})}

    def outputs(self, path: str, output: str) -> dict[str, Any]:
        """Infer all samples `x` of a data set and write the outputs to a file."""
        x = decode_tensors(Path(path).read_bytes())["x"]
        model = self._loaded()
        batches = [model.infer(x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
        Path(output).write_bytes(encode_tensors({"output": np.concatenate(batches)}))
        return {"samples": len(x)}

    def measure(self, path: str, runs: int = 200) -> dict[str, Any]:
        """Measure single inferences of a data set's samples: median and 95th percentile in milliseconds."""
        x = decode_tensors(Path(path).read_bytes())["x"]
        model = self._loaded()
        for index in range(10):  # the first runs allocate
            model.infer(x[index % len(x)][None])
        milliseconds = []
        for index in range(runs):
            sample = x[index % len(x)][None]
            start = time.perf_counter()
            model.infer(sample)
            milliseconds.append((time.perf_counter() - start) * 1000)
        return {
            "latency_p50_ms": float(np.median(milliseconds)),
            "latency_p95_ms": float(np.percentile(milliseconds, 95)),
        }

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise BadModel("model.not_loaded", "Load a model first.")
        return self._model


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    runner = Runner()
    while (request := read_frame(connection)) is not None:
        write_frame(connection, runner.answer(request))


def main() -> int:
    """Serve one connection; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal.runtimes.runner")
    parser.add_argument("--socket", required=True)
    return serve_one(parser.parse_args().socket, serve)


if __name__ == "__main__":
    sys.exit(main())
