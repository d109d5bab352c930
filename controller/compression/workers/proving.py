"""Proves and measures the files of a version, on a worker: the golden set on its own runtime, its score and figures."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.blobs import BlobStore
from controller.compression.workers import alone, bench
from controller.compression.workers.making import File
from controller.jobs.sandbox import Sandbox
from controller.jobs.work import JobFailed, Task
from shoal.runtimes.model import BadModel
from shoal.runtimes.scores import agreement, score
from shoal.wire.errors import WireError
from shoal.wire.tensors import decode_tensors, encode_tensors

GOLDEN_SAMPLES: Final = 32
# What a file should answer is what this runtime makes of it, whichever runs it on a device.
REFERENCES: Final[Mapping[str, str]] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "tflite": "litert",
    "torchscript": "torchscript",
    "ptl": "torchscript",
    "pte": "executorch",
    "eim": "edgeimpulse",
}
_RUNS: Final = 200
_BATCH: Final = 64

Arrays = dict[str, NDArray[Any]]


class Prover:
    """Proves files against one version's own answers."""

    def __init__(self, task: Task) -> None:
        """Read the data sets.

        Args:
            task: `spec` has `task`, `signature`, and the digests of `evaluation` and `golden`.
        """
        self._task = task
        self._blobs = BlobStore(task.blobs)
        signature = task.spec["signature"]
        self._inputs = [spec["name"] for spec in signature["inputs"]]
        self._outputs = [spec["name"] for spec in signature["outputs"]]
        samples = _decode(self._blobs.read(task.spec["evaluation"]))
        self.samples = len(next(iter(samples.values())))
        self._x = self._samples(samples, self.samples)
        self._y = {name: array[: self.samples] for name, array in samples.items() if name.partition(".")[0] == "y"}
        self._golden_x = self._samples(_decode(self._blobs.read(task.spec["golden"])), GOLDEN_SAMPLES)
        self._golden: dict[int, bytes] = {}

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The size of a sample, by input name."""
        return {name: array.shape[1:] for name, array in self._golden_x.items()}

    def answers(self, file: File) -> Arrays:
        """Give what a file should answer on the evaluation set."""
        runtime = REFERENCES[file.format]
        with bench.runner(self._task, runtime) as runner:
            self._load(runner, file, runtime)
            return self._infer(runner, self._x)

    def score(self, answers: Arrays) -> float:
        """Give how good answers are by the model's task, 0..1.

        Raises:
            JobFailed: `score.does_not_fit`.
        """
        try:
            return score(self._task.spec["task"], answers, self._y)
        except BadModel as error:
            raise JobFailed(error.code, str(error)) from error

    def prove(self, file: File, runtime: str, expected: Arrays) -> dict[str, Any]:
        """Prove and measure a file on a runtime.

        Args:
            expected: The version's own answers.

        Returns:
            `figures`, and `golden`: the golden set that travels with the file.

        Raises:
            JobFailed: `golden.failed`, `model.not_loadable`, `variant.crashed`, `variant.bad_outputs`, ...
            JobRefused: `toolchain.missing`.
        """
        golden = self._golden_set(file)
        with bench.runner(self._task, runtime) as runner:
            self._load(runner, file, runtime)
            with alone.measuring():
                profile = bench.ask(
                    runner,
                    "variant",
                    "profile",
                    bench.Profile,
                    golden=runner.put("golden", [golden]),
                    task=self._task.spec["task"],
                    runs=_RUNS,
                )
            if not profile.golden.passed:
                message = f"{runtime} gives {profile.golden.agreement:.0%} of the golden set as the file should."
                raise JobFailed("golden.failed", message)
            answers = self._infer(runner, self._x)
        figures = {
            "accuracy": self.score(answers),
            "agreement": self._agreement(answers, expected),
            "size_bytes": len(file.data),
            "samples": self.samples,
            "latency_p50_ms": profile.latency_p50_ms,
            "latency_p95_ms": profile.latency_p95_ms,
            "latency_p99_ms": profile.latency_p99_ms,
            "load_s": profile.load_s,
            "peak_memory_bytes": profile.peak_memory_bytes,
            "runtime_version": profile.runtime_version,
            "golden_agreement": profile.golden.agreement,
        }
        return {"figures": figures, "golden": golden}

    def _golden_set(self, file: File) -> bytes:
        """Give the golden set of a file, made once for all runtimes."""
        key = hash(file.data)
        if key not in self._golden:
            runtime = REFERENCES[file.format]
            with bench.runner(self._task, runtime) as runner:
                self._load(runner, file, runtime)
                outputs = self._infer(runner, self._golden_x)
            tensors = {f"input.{name}": array for name, array in self._golden_x.items()}
            self._golden[key] = encode_tensors(tensors | {f"output.{name}": array for name, array in outputs.items()})
        return self._golden[key]

    def _agreement(self, answers: Arrays, expected: Arrays) -> float:
        if any(answers[name].shape != expected[name].shape for name in expected):
            return 0.0
        return agreement(self._task.spec["task"], answers, expected)

    def _load(self, runner: Sandbox, file: File, runtime: str) -> None:
        bench.ask(
            runner,
            "variant",
            "load",
            bench.Done,
            timeout_s=bench.OPEN_TIMEOUT_S,
            runtime=runtime,
            path=runner.put(f"model.{file.format}", [file.data]),
            signature=self._task.spec["signature"],
            threads=1,
        )

    def _infer(self, runner: Sandbox, inputs: Arrays) -> Arrays:
        count = len(next(iter(inputs.values())))
        batches = []
        for start in range(0, count, _BATCH):
            batch = {name: array[start : start + _BATCH] for name, array in inputs.items()}
            answer = bench.ask(runner, "variant", "infer", bench.Outputs, tensors=encode_tensors(batch))
            batches.append(self._checked(answer.tensors))
        joined: Arrays = {}
        for name in self._outputs:
            if len({batch[name].shape[1:] for batch in batches}) != 1:
                message = f"The output {name} has one shape for all samples; of this variant it has several."
                raise JobFailed("variant.bad_outputs", message)
            joined[name] = np.concatenate([batch[name] for batch in batches])
            is_finite = joined[name].dtype.kind != "f" or bool(np.isfinite(joined[name]).all())
            if len(joined[name]) != count or not is_finite:
                raise JobFailed("variant.bad_outputs", f"The output {name} is finite, one a sample; here it is not.")
        return joined

    def _checked(self, data: bytes) -> Arrays:
        try:
            tensors = decode_tensors(data)
            return {name: tensors[name] for name in self._outputs}
        except (WireError, KeyError) as error:
            raise JobFailed("variant.bad_outputs", f"The runner's answer does not parse: {error}") from error

    def _samples(self, tensors: Arrays, most: int) -> Arrays:
        """Give the samples of a data set by input name: `x` is of the only input."""
        if "x" in tensors and len(self._inputs) == 1:
            return {self._inputs[0]: tensors["x"][:most]}
        return {name: tensors[f"x.{name}"][:most] for name in self._inputs}


def _decode(data: bytes) -> Arrays:
    tensors: Arrays = decode_tensors(data)
    return tensors
