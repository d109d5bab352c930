"""Makes the files of a version's variants, on a worker: its network is changed step by step, then converted.

What takes long is kept: what a step made of a network by digest in the job's row, so that no other unit and no other
attempt does it again; files in memory, as several runtimes read the same one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controller.blobs import BlobStore
from controller.compression.choosing.recipe import (
    NETWORK,
    ONNX,
    PROGRAM,
    Step,
    digest,
    is_by_nncf,
    precision,
    program_steps,
)
from controller.compression.export.conversion import ConversionError, check, needs_toolchain
from controller.compression.workers import alone, bench
from controller.jobs.sandbox import Sandbox
from controller.jobs.work import JobFailed, JobRefused, Report, Task

_ONNX_RUNTIMES: Final = frozenset({"onnxruntime", "openvino"})
_SEED: Final = 0  # the same request makes the same files
_REFUSALS: Final = frozenset(
    {
        "binarize.nothing",
        "distill.no_gain",
        "export.not_supported",
        "export.unsupported_operator",
        "program.fixed_batch",
        "prune.out_of_reach",
        "quantize.nothing",
        "recipe.unsupported_operator",
        "recipe.unsupported_task",
        "training.diverged",
    }
)


@dataclass(frozen=True, kw_only=True)
class File:
    """A file for a runtime.

    Attributes:
        figures: What its steps and its converter measured.
    """

    data: bytes
    format: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Network:
    program: str
    weights: str
    figures: Mapping[str, Any]


class Maker:
    """Makes files of one version."""

    def __init__(self, task: Task, report: Report) -> None:
        """Keep what is made from; nothing is opened yet.

        Args:
            task: `spec` has `format`, `program` and `weights` or `file`, and the digests of `calibration` and
                `training`; `kept` is what earlier units made.
        """
        self._task = task
        self._report = report
        self._spec = task.spec
        self._blobs = BlobStore(task.blobs)
        self._files: dict[str, File] = {}
        self._networks: dict[str, dict[str, Any]] = {}
        self._failures: dict[str, JobFailed] = {}

    def original(self) -> File:
        """Give the version's own file: a program's ONNX form in float32, or what was uploaded."""
        if self._spec["format"] == PROGRAM:
            return self._onnx(())
        return File(data=self._blobs.read(self._spec["file"]), format=self._spec["format"], figures={})

    def make(self, steps: Sequence[Step], runtime: str) -> File:
        """Give the file of a pipeline for a runtime.

        Raises:
            JobFailed: `program.*`, `export.*`, `quantize.failed`, `converter.*`, `training.*`, ...
            JobRefused: `toolchain.missing`, `distill.no_gain`, `prune.out_of_reach`, ...
        """
        try:
            if self._spec["format"] not in (PROGRAM, ONNX):
                return self.original()
            is_onnx = runtime in _ONNX_RUNTIMES and not is_by_nncf(steps)
            return self._onnx(steps) if is_onnx else self._converted(steps, runtime)
        except JobFailed as error:
            if error.code in _REFUSALS:
                raise JobRefused(error.code, error.message) from error
            raise

    def cost(self, file: File, sizes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Count an ONNX file: `macs` of one inference, where the sizes of all its tensors are known, and `parameters`.

        Args:
            sizes: Of a sample, by input name.
        """
        with self._compressor(()) as sandbox:
            counted = bench.ask(
                sandbox,
                "program",
                "count",
                bench.Counted,
                model=sandbox.put("model.onnx", [file.data]),
                sizes={name: list(size) for name, size in sizes.items()},
            )
        return {name: count for name, count in msgspec.to_builtins(counted).items() if count is not None}

    def sensitivity(self) -> dict[str, Any]:
        """Measure how much each layer of the version suffers from int8."""
        original = self.original()
        bench.check_size("model", original.data)
        with self._compressor(()) as sandbox:
            found = bench.ask(
                sandbox,
                "program",
                "sensitivity",
                bench.Sensitivity,
                timeout_s=bench.TRAIN_TIMEOUT_S,
                said=self._say("sensitivity"),
                model=sandbox.put("model.onnx", [original.data]),
                calibration=self._put(sandbox, "calibration"),
                dataset=self._put(sandbox, "evaluation"),
                task=self._spec["task"],
                signature=self._spec["signature"],
            )
        told: dict[str, Any] = msgspec.to_builtins(found)
        return told

    def _onnx(self, steps: Sequence[Step]) -> File:
        """Give the ONNX file of a pipeline."""
        trained, finish = program_steps(steps), _finish(steps)
        if finish is None:
            return self._exported(trained)
        key = f"finished {digest(steps)}"
        if key not in self._files:
            exported = self._exported(trained)
            self._files[key] = self._compressed(exported, trained, "quantize", finish, calibration="calibration")
        return self._files[key]

    def _exported(self, trained: Sequence[Step]) -> File:
        """Give the ONNX file of a network after its program's steps, in float but for binary weights."""
        key = f"exported {digest(trained)}"
        if key not in self._files:
            self._files[key] = self._export(trained)
        return self._files[key]

    def _export(self, trained: Sequence[Step]) -> File:
        if self._spec["format"] == ONNX:
            return self.original()
        network = self._network(trained)
        weights = self._blobs.read(network.weights)
        with bench.opener(self._task, self._blobs.read(network.program), network.program) as opener:
            bench.check_size("model", weights)
            made = bench.ask(opener, "program", "export", bench.Made, weights=weights)
        file = File(data=made.model, format="onnx", figures=network.figures)
        binarize = next((step for step in trained if step["op"] == "binarize"), None)
        return file if binarize is None else self._compressed(file, trained, "pack", binarize)

    def _compressed(
        self, base: File, trained: Sequence[Step], op: str, step: Step, *, calibration: str | None = None
    ) -> File:
        bench.check_size("model", base.data)
        with self._compressor(trained) as sandbox:
            more: dict[str, Any] = {}
            if calibration is not None:
                more = {"calibration": self._put(sandbox, calibration), "signature": self._spec["signature"]}
                if step["mode"] == "static" and isinstance(step["float_layers"], int) and step["float_layers"]:
                    more |= {"dataset": self._put(sandbox, "evaluation"), "task": self._spec["task"]}
            made = bench.ask(
                sandbox,
                "program",
                op,
                bench.Made,
                timeout_s=bench.TRAIN_TIMEOUT_S,
                model=sandbox.put("model.onnx", [base.data]),
                step=dict(step),
                **more,
            )
        return File(data=made.model, format="onnx", figures={**base.figures, **made.figures})

    @contextmanager
    def _compressor(self, trained: Sequence[Step]) -> Iterator[Sandbox]:
        """Lend a sandbox that compresses ONNX files: the program's, which is warm already, or one without."""
        if self._spec["format"] == ONNX:
            with bench.quantizer(self._task) as sandbox:
                yield sandbox
        else:
            network = self._network(trained)
            with bench.opener(self._task, self._blobs.read(network.program), network.program) as sandbox:
                yield sandbox

    def _converted(self, steps: Sequence[Step], runtime: str) -> File:
        wanted, source = precision(steps), self._spec["format"]
        try:
            check(runtime, wanted, source)
        except ConversionError as error:
            raise JobRefused(error.code, str(error)) from error
        in_toolchain = needs_toolchain(runtime, wanted, source)
        if in_toolchain:
            bench.toolchain_python()  # before anything is trained for it
        network = None if source == ONNX else self._network(program_steps(steps))
        with alone.working(), bench.converter(self._task, in_toolchain=in_toolchain) as sandbox:
            if network is None:
                paths = {"model": sandbox.put("model.onnx", self._blobs.stream(self._spec["file"]))}
            else:
                paths = {
                    "program": sandbox.put("program.pt2", self._blobs.stream(network.program)),
                    "weights": sandbox.put("weights", self._blobs.stream(network.weights)),
                }
            made = bench.ask(
                sandbox,
                "converter",
                "convert",
                bench.Converted,
                timeout_s=bench.CONVERT_TIMEOUT_S,
                converter=runtime,
                precision=wanted,
                source=source,
                signature=self._spec["signature"],
                calibration=self._put(sandbox, "calibration"),
                settings=_settings(steps),
                **paths,
            )
        before = {} if network is None else network.figures
        quantizer = {"quantizer": "nncf"} if is_by_nncf(steps) else {}
        return File(data=made.model, format=made.format, figures={**before, **quantizer, **made.notes})

    def _network(self, steps: Sequence[Step]) -> _Network:
        """Give the network after some steps, each done once in a job."""
        if not steps:
            return _Network(program=self._spec["program"], weights=self._spec["weights"], figures={})
        name = f"{NETWORK}{digest(steps)}"
        if name in self._failures:  # it trained to find that out, and would again
            raise self._failures[name]
        kept = self._spec["kept"].get(name) or self._networks.get(name)
        if kept is None:
            before = self._network(steps[:-1])
            try:
                kept = self._apply(before, steps[-1])
            except JobFailed as error:
                self._failures[name] = error
                if error.code in _REFUSALS:  # another unit would train to the same end
                    self._report.keep(name, {"code": error.code, "message": error.message})
                raise
            self._networks[name] = kept
            self._report.keep(name, kept)
        if "code" in kept:
            raise JobFailed(kept["code"], kept["message"])
        return _Network(**kept)

    def _apply(self, network: _Network, step: Step) -> dict[str, Any]:
        self._report.log("info", f"{step['op']} begins: {json.dumps(dict(step), sort_keys=True)}")
        with bench.trainer(self._task, self._blobs.read(network.program)) as sandbox:
            more = {}
            if step["op"] == "distill" and step.get("student") is not None:
                student = self._spec["students"][str(step["student"])]
                more["student"] = {
                    part: sandbox.put(f"student-{part}", self._blobs.stream(student[part]))
                    for part in ("program", "weights")
                }
            applied = bench.ask(
                sandbox,
                "program",
                "apply",
                bench.Applied,
                timeout_s=bench.TRAIN_TIMEOUT_S,
                said=self._say(step["op"]),
                step=dict(step),
                weights=sandbox.put("weights", self._blobs.stream(network.weights)),
                training=self._put(sandbox, "training"),
                task=self._spec["task"],
                seed=_SEED,
                **more,
            )
        self._report.log("info", f"{step['op']} ended: {json.dumps(applied.figures, sort_keys=True)[:800]}")
        program, weights = (self._blobs.put_bytes(data)[0] for data in (applied.program, applied.weights))
        figures = {**network.figures, step["op"]: applied.figures, "macs": applied.macs}
        figures["parameters"] = applied.parameters
        return {"program": program, "weights": weights, "figures": figures}

    def _say(self, op: str) -> Any:
        def say(share: float, text: str) -> None:
            self._report.progress(0.9 * share, f"{op}: {text}")

        return say

    def _put(self, sandbox: Sandbox, role: str) -> str:
        return sandbox.put(role, self._blobs.stream(self._spec[role]))


def _finish(steps: Sequence[Step]) -> Step | None:
    """Give the quantization that ends a pipeline; whether it was trained for is no matter any more."""
    return next(({**step, "aware": None} for step in steps if step["op"] == "quantize"), None)


def _settings(steps: Sequence[Step]) -> dict[str, Any]:
    """Give what a converter is told beside the precision: of NNCF the recipe says it, the others know one way."""
    if not is_by_nncf(steps):
        return {}
    step = next(step for step in steps if step["op"] == "quantize")
    return {"calibration": step["calibration"], "float_layers": step["float_layers"] or []}
