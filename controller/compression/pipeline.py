"""The job `compress`: each recipe's file is made once, and proven and measured on each runtime that shall run it.

A trial that ends well is reported at once. One that does not is refused by name and does not stop the others; the job
fails then, with what was made kept.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.blobs import BlobStore
from controller.compression import bench
from controller.compression.recipe import FP32, INT8, Trial
from controller.jobs.sandbox import Sandbox
from controller.jobs.work import JobFailed, Report, Task
from shoal.wire.errors import WireError
from shoal.wire.tensors import decode_tensors, encode_tensors

GOLDEN_SAMPLES: Final = 32
REFERENCE: Final = "onnxruntime"  # what a file should answer is what this runtime makes of it
_BATCH: Final = 64
_LATENCY_RUNS: Final = 200

Labels = NDArray[np.int64]


def compress(task: Task, report: Report) -> dict[str, Any]:
    """Make variants, on a worker.

    Args:
        task: `spec` has `program`, `weights`, `calibration`, `evaluation`, `golden`, sha256 each, and `trials`:
            pairs of recipe and runtime, without those that exist.

    Returns:
        `variants`: those made now; `refused`: none.

    Raises:
        JobFailed: `program.not_loadable`, `export.failed`, `quantize.failed`, `golden.failed`, ...
        Forbidden: `program.not_isolated`.
    """
    trials = [Trial(*pair) for pair in task.spec["trials"]]
    if not trials:
        return {"variants": [], "refused": []}
    runtimes = dict.fromkeys([REFERENCE, *(trial.runtime for trial in trials)])
    with ThreadPoolExecutor(len(runtimes)) as starting:  # while the program is opened
        started = [starting.submit(_start_runner, task, runtime) for runtime in runtimes]
        report.progress(0.05, "Opening the program.")
        files = _make_files(task, {FP32, *(trial.recipe for trial in trials)}, report)
    for start in started:
        start.result()
    return _Proving(task, files).run(trials, report)


def _start_runner(task: Task, runtime: str) -> None:
    with bench.runner(task, runtime):
        """It is kept warm."""


def _make_files(task: Task, recipes: set[str], report: Report) -> dict[str, bytes]:
    blobs = BlobStore(task.blobs_url)
    weights = blobs.read(task.spec["weights"])
    bench.check_size("model", weights)
    sha256 = task.spec["program"]
    with bench.opener(task, blobs.read(sha256), sha256) as opener:
        report.progress(0.3, "Exporting.")
        files = {FP32: bench.ask(opener, "program", "export", bench.Made, weights=weights).model}
        if INT8 in recipes:
            report.progress(0.5, "Quantizing.")
            calibration = blobs.read(task.spec["calibration"])
            bench.check_size("model", files[FP32], calibration)
            made = bench.ask(opener, "program", "quantize", bench.Made, model=files[FP32], calibration=calibration)
            files[INT8] = made.model
    return files


class _Proving:
    """Proves and measures the files of one version."""

    def __init__(self, task: Task, files: dict[str, bytes]) -> None:
        self._task = task
        self._blobs = BlobStore(task.blobs_url)
        self._files = files
        self._data = self._blobs.read(task.spec["evaluation"])
        tensors = decode_tensors(self._data)
        self._x, self._y = tensors["x"], tensors["y"]
        self._golden_x = decode_tensors(self._blobs.read(task.spec["golden"]))["x"][:GOLDEN_SAMPLES]
        self._references: dict[str, tuple[Labels, bytes]] = {}

    def run(self, trials: list[Trial], report: Report) -> dict[str, Any]:
        """Do all trials; what one of them cannot be is told at the end."""
        variants, refused = [], []
        for number, trial in enumerate(trials):
            report.progress(0.6 + 0.4 * number / len(trials), f"Measuring {trial.recipe} on {trial.runtime}.")
            try:
                proven = self._prove(trial)
            except JobFailed as error:
                refused.append({**asdict(trial), "code": error.code, "message": error.message})
            else:
                report.trial(proven)
                variants.append({**asdict(trial), "sha256": proven["sha256"], "accuracy": proven["accuracy"]})
        result = {"variants": variants, "refused": refused}
        if refused:
            first = refused[0]
            message = f"{first['recipe']} for {first['runtime']} was refused: {first['message']}"
            raise JobFailed(first["code"], message, result)
        return result

    def _prove(self, trial: Trial) -> dict[str, Any]:
        """Give a variant's columns, once its golden set passed on its own runtime."""
        expected, _ = self._reference(FP32)
        _, golden = self._reference(trial.recipe)
        with bench.runner(self._task, trial.runtime) as runner:
            self._load(runner, trial.recipe, trial.runtime)
            proof = bench.ask(runner, "variant", "golden", bench.Golden, path=runner.put("golden", [golden]))
            if not proof.passed:
                share = f"{proof.agreement:.0%}"
                message = f"{trial.runtime} gives the label that the file should give on {share} of the golden set."
                raise JobFailed("golden.failed", message)
            labels = _infer(runner, self._x).argmax(axis=1)
            data = runner.put("data", [self._data])
            latency = bench.ask(runner, "variant", "measure", bench.Latency, path=data, runs=_LATENCY_RUNS)
        sha256, size = self._blobs.put_bytes(self._files[trial.recipe])
        golden_sha256, golden_size = self._blobs.put_bytes(golden)
        return {
            **asdict(trial),
            "sha256": sha256,
            "size_bytes": size,
            "golden_sha256": golden_sha256,
            "golden_size_bytes": golden_size,
            "accuracy": float((labels == self._y).mean()),
            "agreement": float((labels == expected).mean()),
            "latency_p50_ms": latency.latency_p50_ms,
            "samples": len(self._y),
        }

    def _reference(self, recipe: str) -> tuple[Labels, bytes]:
        """Give the labels and the golden set that a recipe's file should give, once for all runtimes."""
        if recipe not in self._references:
            with bench.runner(self._task, REFERENCE) as runner:
                self._load(runner, recipe, REFERENCE)
                labels = _infer(runner, self._x).argmax(axis=1)
                outputs = _infer(runner, self._golden_x)
            golden = encode_tensors({"input": self._golden_x, "output": outputs})
            self._references[recipe] = labels, golden
        return self._references[recipe]

    def _load(self, runner: Sandbox, recipe: str, runtime: str) -> None:
        path = runner.put("model", [self._files[recipe]])
        bench.ask(runner, "variant", "load", bench.Done, runtime=runtime, path=path, threads=1)


def _infer(runner: Sandbox, x: NDArray[np.float32]) -> NDArray[np.float32]:
    batches = []
    for start in range(0, len(x), _BATCH):
        tensors = encode_tensors({"input": x[start : start + _BATCH]})
        batches.append(_output(bench.ask(runner, "variant", "infer", bench.Outputs, tensors=tensors).tensors))
    if len({batch.shape[1:] for batch in batches}) != 1:
        raise JobFailed("variant.bad_outputs", "A variant's outputs have one shape; of this one they have several.")
    outputs: NDArray[np.float32] = np.concatenate(batches)
    if outputs.ndim != 2 or len(outputs) != len(x) or not np.isfinite(outputs).all():
        raise JobFailed(
            "variant.bad_outputs", "A variant gives one finite vector of scores a sample; this one does not."
        )
    return outputs


def _output(data: bytes) -> NDArray[np.float32]:
    try:
        output: NDArray[np.float32] = decode_tensors(data)["output"]
    except (WireError, KeyError) as error:
        raise JobFailed("variant.bad_outputs", f"The runner's answer does not parse: {error}") from error
    return output
