"""The job `evaluate`: how good weights are on a data set, by the version's own evaluation program."""

import math
from typing import Any

from controller.blobs import BlobStore
from controller.compression.workers import bench
from controller.jobs.work import JobFailed, Report, Task


def evaluate(task: Task, report: Report) -> dict[str, Any]:
    """Measure, on a worker.

    Args:
        task: `spec` has `program`, `weights` and `dataset`, sha256 each, and the model's `task` and `signature`;
            `known` where it was measured before.

    Raises:
        JobFailed: `program.not_loadable`, `program.does_not_fit`, `model.weights_mismatch`,
            `evaluation.not_finite`, ...
        Forbidden: `program.not_isolated`.
    """
    if "known" in task.spec:
        return dict(task.spec["known"])
    blobs = BlobStore(task.blobs)
    weights, dataset = blobs.read(task.spec["weights"]), blobs.read(task.spec["dataset"])
    bench.check_size("dataset", weights, dataset)
    sha256 = task.spec["program"]
    with bench.opener(task, blobs.read(sha256), sha256) as opener:
        report.progress(0.5, "Measuring.")
        measured = bench.ask(
            opener, "program", "evaluate", bench.Measured, weights=weights, dataset=dataset, task=task.spec["task"]
        )
    if not math.isfinite(measured.loss):
        raise JobFailed("evaluation.not_finite", "The loss is not finite: these weights have run away.")
    figures = {"accuracy": measured.accuracy, "loss": measured.loss, "samples": measured.samples}
    report.trial(figures)
    return figures
