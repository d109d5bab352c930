"""The job `import_dataset`: an uploaded file becomes a data set's, through a sandbox and in constant memory."""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from controller.artifacts.datasets import examine_blob
from controller.blobs import BlobStore
from controller.jobs.sandbox import Limits, Sandbox
from controller.jobs.work import JobFailed, Report, Task
from shoal.runtimes.process import ProcessError

_LIMITS: Final = Limits(cpu_s=3600, memory_bytes=4 * 2**30, scratch_bytes=64 * 2**20)
_OPEN_S: Final = 300.0
_READ_S: Final = 120.0
_ENDS: Final = {"process.crashed": "dataset.crashed", "process.hung": "dataset.over_limit"}
_FETCHED, _CONVERTED = 0.1, 0.9  # shares of the whole

Answer = TypeVar("Answer")


class _Opened(msgspec.Struct, frozen=True):
    size_bytes: int
    samples: int
    class_labels: list[str]


class _Piece(msgspec.Struct, frozen=True):
    data: bytes
    is_last: bool


def convert(task: Task, report: Report) -> dict[str, Any]:
    """Import, on a worker.

    Args:
        task: `spec` has `source` (sha256), `format`, `label_column`, `class_labels`, `preprocessing` and `inputs`;
            `known` where it was done before.

    Raises:
        JobFailed: What the format's reader found, or `dataset.crashed`, `dataset.over_limit`.
        Invalid: `dataset.not_finite`, ...: what is wrong with what it became.
        Forbidden: `program.not_isolated`.
    """
    if "known" in task.spec:
        return dict(task.spec["known"])
    blobs = BlobStore(task.blobs)
    source = task.spec["source"]
    report.progress(0.0, "Starting.")
    try:
        sandbox = Sandbox.start(
            "controller.datasets.converter",
            state=task.state,
            allow_unisolated=task.allow_unisolated,
            limits=_LIMITS,
        )
    except ProcessError as error:
        raise JobFailed("sandbox.not_started", str(error)) from error
    try:
        report.progress(0.0, "Fetching the file.")
        path = sandbox.put("source", blobs.stream(source))
        report.progress(_FETCHED, "Looking at it.")
        wanted = {
            name: task.spec[name] for name in ("format", "label_column", "class_labels", "preprocessing", "inputs")
        }
        opened = _ask(sandbox, "open", _Opened, timeout_s=_OPEN_S, path=path, **wanted)
        report.log("info", f"{opened.samples} samples, {opened.size_bytes} bytes.")
        sha256, size = blobs.put(_converted(sandbox, opened, report), expected_sha256=None, max_bytes=opened.size_bytes)
    finally:
        sandbox.close()
    report.progress(_CONVERTED, "Checking what it became.")
    figures = examine_blob(blobs, sha256, size)
    found = {"samples": figures.samples, "tensors": figures.tensors, "largest_label": figures.largest_label}
    report.trial({"sha256": sha256, "size_bytes": size, **found})
    return {"samples": figures.samples, "tensors": figures.tensors, "class_labels": opened.class_labels}


def _converted(sandbox: Sandbox, opened: _Opened, report: Report) -> Iterator[bytes]:
    done = 0
    while not (piece := _ask(sandbox, "read", _Piece, timeout_s=_READ_S)).is_last:
        done += len(piece.data)
        share = done / max(opened.size_bytes, 1)
        samples = min(round(share * opened.samples), opened.samples)
        report.progress(
            _FETCHED + share * (_CONVERTED - _FETCHED), f"Converting: about {samples} of {opened.samples} samples."
        )
        yield piece.data


def _ask(sandbox: Sandbox, op: str, kind: type[Answer], *, timeout_s: float, **arguments: Any) -> Answer:
    """Ask the sandbox; by now the file may have taken it over, so its answers are checked."""
    try:
        return msgspec.convert(sandbox.ask(op, timeout_s=timeout_s, **arguments), kind)
    except ProcessError as error:
        raise JobFailed(_ENDS.get(error.code, error.code), str(error)) from error
    except msgspec.ValidationError as error:
        raise JobFailed("dataset.crashed", f"The answer to {op} is not what it has to be: {error}") from error
