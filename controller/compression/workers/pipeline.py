"""The job `compress` on a worker: recipes' files are made, then proven and measured on each runtime that runs them.

A trial is reported as soon as it has ended, however it did; one that cannot be made does not stop the others. Which
recipes a unit has, and what follows from how they ended, is decided elsewhere (`planning`, `search`).
"""

import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any, Final

import msgspec

from controller.blobs import BlobStore
from controller.compression.choosing.budget import Budget
from controller.compression.choosing.recipe import trial_key
from controller.compression.workers import bench
from controller.compression.workers.making import File, Maker
from controller.compression.workers.proving import REFERENCES, Arrays, Prover
from controller.jobs.states import TrialState
from controller.jobs.work import JobFailed, JobRefused, Level, Report, Task
from shoal.wire.tensors import decode_tensors, encode_tensors

_MADE_SHARE: Final = 0.6  # of a unit's time: opening, exporting, quantizing, training
_LEVELS: Final[Mapping[TrialState, Level]] = {
    TrialState.SUCCEEDED: "info",
    TrialState.REFUSED: "warning",
    TrialState.FAILED: "error",
}
_LIBRARIES: Final = ("torch", "onnx", "onnxruntime", "openvino", "torch-pruning", "numpy")


class _Wanted(msgspec.Struct, frozen=True):
    """A recipe of the unit."""

    name: str
    steps: list[dict[str, Any]]
    runtimes: list[str]


def compress(task: Task, report: Report) -> dict[str, Any]:
    """Make and prove variants.

    Args:
        task: `spec` has `format`, `task`, `signature`, `budget` and `factors`; the digests `program` and `weights` or
            `file`, `calibration`, `evaluation`, `golden`, `training`; `kept`; and of the unit `pipelines`.

    Raises:
        JobFailed: What keeps the whole version from being made: `program.not_loadable`, `export.failed`, ...
        Forbidden: `program.not_isolated`.
    """
    unit = _Unit(task, report, msgspec.convert(task.spec["pipelines"], list[_Wanted]))
    unit.run()
    return {}


def sensitivity(task: Task, report: Report) -> dict[str, Any]:
    """Measure how much each layer of a version suffers from int8.

    Args:
        task: As of `compress`, without what is about recipes.

    Raises:
        JobFailed, JobRefused, Forbidden: As `compress`; `quantize.nothing` where there is no layer.
    """
    report.progress(0.05, "Opening the version.")
    return Maker(task, report).sensitivity()


class _Unit:
    """The recipes that one worker makes."""

    def __init__(self, task: Task, report: Report, wanted: Sequence[_Wanted]) -> None:
        self._task = task
        self._report = report
        self._wanted = wanted
        self._blobs = BlobStore(task.blobs)
        self._maker = Maker(task, report)

    def run(self) -> None:
        """Refer to the version's own answers, then do each recipe on each runtime."""
        runtimes = dict.fromkeys(runtime for wanted in self._wanted for runtime in wanted.runtimes)
        if self._task.spec["format"] in ("program", "onnx"):
            runtimes = {REFERENCES["onnx"]: None, **runtimes}
        with ThreadPoolExecutor(len(runtimes)) as starting:  # while the program is opened
            for runtime in runtimes:
                starting.submit(self._warm_up, runtime)
            self._report.progress(0.05, "Opening the version.")
            original = self._maker.original()
            self._report.progress(0.3, "Exported.")
            prover = Prover(self._task)
        expected, reference = self._reference(prover, original)
        pairs = [(wanted, runtime) for wanted in self._wanted for runtime in wanted.runtimes]
        for number, (wanted, runtime) in enumerate(pairs):
            share = _MADE_SHARE + (1 - _MADE_SHARE) * number / len(pairs)
            self._report.progress(share, f"{wanted.name} on {runtime}.")
            self._report.trial(self._try(wanted, runtime, prover, expected, reference))

    def _warm_up(self, runtime: str) -> None:
        try:
            with bench.runner(self._task, runtime):
                """It is kept warm."""
        except JobFailed:
            return  # whoever uses it is told why

    def _reference(self, prover: Prover, original: File) -> tuple[Arrays, Mapping[str, Any]]:
        """Give the version's own answers and its score, found once in a job."""
        kept = self._task.spec["kept"].get("reference")
        if kept is not None:
            return decode_tensors(self._blobs.read(kept["answers"])), kept
        expected = prover.answers(original)
        reference = {
            "score": prover.score(expected),
            "samples": prover.samples,
            "size_bytes": len(original.data),
            "answers": self._blobs.put_bytes(encode_tensors(expected))[0],
            "cost": self._maker.cost(original, prover.sizes) if original.format == "onnx" else {},
        }
        self._report.keep("reference", reference)
        self._report.log("info", f"The version itself scores {reference['score']:.4f} of {prover.samples} samples.")
        return expected, reference

    def _try(
        self, wanted: _Wanted, runtime: str, prover: Prover, expected: Arrays, reference: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Give a trial as it is kept."""
        trial: dict[str, Any] = {
            "key": trial_key(wanted.name, runtime),
            "recipe": wanted.name,
            "steps": wanted.steps,
            "runtime": runtime,
            "state": TrialState.SUCCEEDED.value,
            "code": "",
            "message": "",
            "figures": {},
        }
        try:
            file = self._maker.make(wanted.steps, runtime)
            proven = prover.prove(file, runtime, expected)
            figures = {
                **reference["cost"],
                **file.figures,
                **proven["figures"],
                "reference_accuracy": reference["score"],
            }
            trial["figures"] = figures
            refusal = self._refusal(runtime, figures, reference)
            if refusal is not None:
                trial |= {"state": TrialState.REFUSED.value, "code": refusal[0], "message": refusal[1]}
            else:
                trial["variant"] = self._keep(file, proven["golden"])
        except JobFailed as error:
            state = TrialState.REFUSED if isinstance(error, JobRefused) else TrialState.FAILED
            trial |= {"state": state.value, "code": error.code, "message": error.message}
        said = f"{trial['code']}: {trial['message']}" if trial["code"] else _said(trial["figures"])
        self._report.log(_LEVELS[TrialState(trial["state"])], f"{wanted.name} on {runtime}: {said}")
        return trial

    def _refusal(
        self, runtime: str, figures: Mapping[str, Any], reference: Mapping[str, Any]
    ) -> tuple[str, str] | None:
        asked = self._task.spec["budget"]
        if asked is None:
            return None
        return Budget.of(asked, reference["score"], self._task.spec["factors"]).refusal(runtime, figures)

    def _keep(self, file: File, golden: bytes) -> dict[str, Any]:
        """Put a variant's bytes away, and give what its row needs beside the figures."""
        sha256, size = self._blobs.put_bytes(file.data)
        golden_sha256, golden_size = self._blobs.put_bytes(golden)
        return {
            "format": file.format,
            "sha256": sha256,
            "size_bytes": size,
            "golden_sha256": golden_sha256,
            "golden_size_bytes": golden_size,
            "libraries": _libraries(),
            "code": _version("shoal"),
        }


def _libraries() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES if _version(name)}}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _said(figures: Mapping[str, Any]) -> str:
    return (
        f"scores {figures['accuracy']:.4f}, {figures['size_bytes']} bytes, {figures['latency_p50_ms']:.3f} ms, "
        f"agrees with the version on {figures['agreement']:.1%}"
    )
