"""`python -m shoal.runtimes.runner --socket PATH`: one model in a process of its own.

What the device's trial and profile and the cloud's sandbox start: a native crash or a hang is this process's end, not
theirs. It takes one connection, answers its requests in order, and ends with it. Tensors are safetensors.

    load     {runtime, path, signature?, preprocessing?, options?, threads?}
             -> {sha256, runtime_version, inputs, outputs, load_s}; another model that was loaded is given back before
    golden   {path, task?} -> {samples, agreement, max_abs_error, passed, latency_p50_ms}
    infer    {tensors} by input name, or `raw` -> {tensors} by output name
    outputs  {path} of a data set (`x`, or `x.<input>`) -> {samples, tensors} of all its samples
    measure  {path, runs?, warm_up?} of a data set or a golden set, a sample at a time
             -> {latency_p50_ms, latency_p95_ms, latency_p99_ms, runs, duration_s}
    profile  {golden, task?, runs?, warm_up?} -> {golden: as above, runtime_version, threads, load_s,
             peak_memory_bytes, and what measure gives on the golden inputs}
    unload   {} -> {}; the memory is given back

Each answer has `ok`: true, or false with `code` and `message`. `signature` and `preprocessing` are JSON of
`shoal.wire.models`; inputs and outputs are so answered, too.
"""

import argparse
import ctypes
import gc
import hashlib
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from shoal.runtimes import load_runtime, runtime_version
from shoal.runtimes.frames import read_frame, serve_one, write_frame
from shoal.runtimes.golden import check_golden, read_golden
from shoal.runtimes.memory import Peak
from shoal.runtimes.model import Array, BadModel, LoadedModel
from shoal.runtimes.preprocessing import inputs_of
from shoal.wire.errors import WireError
from shoal.wire.models import Preprocessing, PreprocessingStep, Signature
from shoal.wire.tensors import decode_tensors, encode_tensors

_BATCH: Final = 64


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A loaded model and how it came to be."""

    model: LoadedModel
    preprocessing: list[PreprocessingStep]
    runtime_version: str
    threads: int
    load_s: float
    peak: Peak


class Runner:
    """The requests, one method each."""

    def __init__(self) -> None:
        self._ready: _Ready | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for; what is wrong with it is part of the answer."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "load": self.load,
            "golden": self.golden,
            "infer": self.infer,
            "outputs": self.outputs,
            "measure": self.measure,
            "profile": self.profile,
            "unload": self.unload,
        }
        try:
            arguments = dict(request)
            return {"ok": True, **operations[arguments.pop("op")](**arguments)}
        except (BadModel, WireError) as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except OSError as error:
            return {"ok": False, "code": "artifact.unreadable", "message": str(error)}
        except MemoryError:
            return {"ok": False, "code": "model.over_limit", "message": "The model needs more memory than there is."}
        except (KeyError, TypeError, ValueError) as error:
            return {"ok": False, "code": "request.invalid", "message": f"Not a request of the runner: {error}"}

    def load(
        self,
        runtime: str,
        path: str,
        signature: dict[str, Any] | None = None,
        preprocessing: list[dict[str, Any]] | None = None,
        options: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> dict[str, Any]:
        """Load a model; gives the digest of its file."""
        self.unload()
        declared = msgspec.convert(signature, Signature | None)
        steps = msgspec.convert(preprocessing or [], Preprocessing)
        opener = load_runtime(runtime)
        sha256 = _digest(path)
        peak, start = Peak(), time.perf_counter()
        model = opener.open(Path(path), signature=declared, threads=threads, options=options or {})
        self._ready = _Ready(
            model=model,
            preprocessing=steps,
            runtime_version=runtime_version(runtime),
            threads=threads,
            load_s=time.perf_counter() - start,
            peak=peak,
        )
        return {
            "sha256": sha256,
            "runtime_version": self._ready.runtime_version,
            "inputs": msgspec.to_builtins(model.inputs),
            "outputs": msgspec.to_builtins(model.outputs),
            "load_s": self._ready.load_s,
        }

    def unload(self) -> dict[str, Any]:
        """Give the loaded model's memory back, to the system too."""
        if self._ready is not None:
            self._ready.model.close()
            self._ready = None
            give_back_memory()
        return {}

    def golden(self, path: str, task: str = "classification") -> dict[str, Any]:
        """Run a golden set."""
        return check_golden(self._loaded().model, Path(path).read_bytes(), task).as_dict()

    def infer(self, tensors: bytes) -> dict[str, Any]:
        """Infer a batch."""
        ready = self._loaded()
        inputs = inputs_of(decode_tensors(tensors), ready.model.inputs, ready.preprocessing)
        return {"tensors": encode_tensors(ready.model.infer(inputs))}

    def outputs(self, path: str) -> dict[str, Any]:
        """Infer all samples of a data set."""
        model = self._loaded().model
        inputs = _samples(model, Path(path).read_bytes())
        count = len(next(iter(inputs.values())))
        batches = [
            model.infer({name: array[start : start + _BATCH] for name, array in inputs.items()})
            for start in range(0, count, _BATCH)
        ]
        try:
            joined = {spec.name: np.concatenate([batch[spec.name] for batch in batches]) for spec in model.outputs}
        except ValueError as error:
            raise BadModel("model.bad_outputs", "The outputs of the samples have several shapes.") from error
        return {"samples": count, "tensors": encode_tensors(joined)}

    def measure(self, path: str, runs: int = 200, warm_up: int = 10) -> dict[str, Any]:
        """Measure single inferences."""
        model = self._loaded().model
        return _measure(model, _samples(model, Path(path).read_bytes()), runs, warm_up)

    def profile(self, golden: str, task: str = "classification", runs: int = 200, warm_up: int = 10) -> dict[str, Any]:
        """Prove and measure the loaded model."""
        ready = self._loaded()
        data = Path(golden).read_bytes()
        proof = check_golden(ready.model, data, task)
        measured = _measure(ready.model, read_golden(data, ready.model)[0], runs, warm_up)
        return {
            "golden": proof.as_dict(),
            "runtime_version": ready.runtime_version,
            "threads": ready.threads,
            "load_s": ready.load_s,
            "peak_memory_bytes": ready.peak.bytes(),
            **measured,
        }

    def _loaded(self) -> _Ready:
        if self._ready is None:
            raise BadModel("model.not_loaded", "Load a model first.")
        return self._ready


def give_back_memory() -> None:
    """Give what was freed back to the system: glibc keeps it otherwise."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    runner = Runner()
    while (request := read_frame(connection)) is not None:
        write_frame(connection, runner.answer(request))
    runner.unload()


def main() -> int:
    """Serve one connection; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shoal.runtimes.runner")
    parser.add_argument("--socket", required=True)
    return serve_one(parser.parse_args().socket, serve)


def _digest(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _samples(model: LoadedModel, data: bytes) -> dict[str, Array]:
    """Give the inputs in a data set or a golden set, by the model's names.

    Raises:
        BadModel: `dataset.malformed`.
    """
    tensors = decode_tensors(data)
    found: dict[str, Array] = {}
    for spec in model.inputs:
        names = (f"x.{spec.name}", f"input.{spec.name}", *(("x",) if len(model.inputs) == 1 else ()))
        name = next((name for name in names if name in tensors), None)
        if name is None:
            raise BadModel("dataset.malformed", f"The data set has no samples of the input {spec.name}.")
        found[spec.name] = tensors[name]
    counts = {len(array) if array.ndim else 0 for array in found.values()}
    if len(counts) != 1 or counts == {0}:
        raise BadModel("dataset.malformed", "The data set has no samples, or not as many of each input.")
    return found


def _measure(model: LoadedModel, inputs: Mapping[str, Array], runs: int, warm_up: int) -> dict[str, Any]:
    count = len(next(iter(inputs.values())))
    # Cut before the clock runs; a data set may have more samples than will be run.
    samples = [{name: array[index : index + 1] for name, array in inputs.items()} for index in range(min(count, runs))]
    for index in range(warm_up):  # the first runs allocate
        model.infer(samples[index % len(samples)])
    seconds = np.empty(runs)
    for index in range(runs):
        sample = samples[index % len(samples)]
        start = time.perf_counter()
        model.infer(sample)
        seconds[index] = time.perf_counter() - start
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(seconds, [50, 95, 99]))
    return {
        "latency_p50_ms": p50,
        "latency_p95_ms": p95,
        "latency_p99_ms": p99,
        "runs": runs,
        "duration_s": float(seconds.sum()),
    }


if __name__ == "__main__":
    sys.exit(main())
