"""The job `inspect`: opens an uploaded version in the sandbox, and says what it takes and gives.

Programs are opened by `inspector`, ready-made files by their runtime's runner. What is found is checked here: by then
the process that answers may be the upload's.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Annotated, Any, Final

import msgspec

from controller.blobs import BlobStore
from controller.compression.workers import bench
from controller.compression.workers.zeros import zeros_of
from controller.jobs.sandbox import Sandbox
from controller.jobs.work import JobFailed, Report, Task
from shoal.runtimes.process import ProcessError
from shoal.wire.models import Signature, TensorSpec
from shoal.wire.tensors import encode_tensors

RUNTIMES: Final[Mapping[str, str]] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "tflite": "litert",
    "torchscript": "torchscript",
    "ptl": "torchscript",
    "pte": "executorch",
    "eim": "edgeimpulse",
}
_OPEN_TIMEOUT_S: Final = 180.0
_FREE_SIZES: Final = (32, 8, 224, 1)  # tried for free axes that are not the samples'
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_./:-]+")

Tensors = Annotated[list[TensorSpec], msgspec.Meta(min_length=1, max_length=16)]


class _Program(msgspec.Struct, frozen=True):
    inputs: Tensors
    outputs: Tensors
    parameters: Annotated[int, msgspec.Meta(ge=0)]


class _File(msgspec.Struct, frozen=True):
    inputs: Tensors
    outputs: Tensors
    runtime_version: Annotated[str, msgspec.Meta(max_length=100)]


def inspect(task: Task, report: Report) -> dict[str, Any]:
    """Look at a version, on a worker.

    Args:
        task: `spec` has `format`, `signature` (null where the model has none yet), and the digests `train_program`,
            `eval_program`, `weights` or `file`.

    Returns:
        `signature`: the model's, or what it becomes; `inspection`: what the version's row keeps.

    Raises:
        JobFailed: `program.not_loadable`, `model.not_loadable`, `model.weights_mismatch`, `model.bad_signature`, ...
        Forbidden: `program.not_isolated`.
    """
    report.progress(0.1, "Opening it in the sandbox.")
    blobs = BlobStore(task.blobs)
    return _look_at_program(task, blobs) if task.spec["format"] == "program" else _look_at_file(task, blobs)


def _look_at_program(task: Task, blobs: BlobStore) -> dict[str, Any]:
    wanted = {"eval": "eval_program", "weights": "weights", "train": "train_program"}
    with closing(_start_inspector(task)) as sandbox:
        paths = {
            name: sandbox.put(name, blobs.stream(task.spec[column]))
            for name, column in wanted.items()
            if task.spec[column] is not None
        }
        found = bench.ask(
            sandbox,
            "program",
            "program",
            _Program,
            timeout_s=_OPEN_TIMEOUT_S,
            signature=task.spec["signature"],
            **paths,
        )
    inspection = {
        "inputs": msgspec.to_builtins(found.inputs),
        "outputs": msgspec.to_builtins(found.outputs),
        "parameters": found.parameters,
    }
    return {"signature": task.spec["signature"] or _declared(found.inputs, found.outputs), "inspection": inspection}


def _start_inspector(task: Task) -> Sandbox:
    try:
        return Sandbox.start(
            "controller.compression.workers.inspector", state=task.state, allow_unisolated=task.allow_unisolated
        )
    except ProcessError as error:
        raise JobFailed("sandbox.not_started", str(error)) from error


def _look_at_file(task: Task, blobs: BlobStore) -> dict[str, Any]:
    runtime = RUNTIMES[task.spec["format"]]
    signature = task.spec["signature"]
    # The runner ends with this file: what an upload did to it must not be there for the next.
    with bench.runner(task, runtime) as runner, closing(runner):
        path = runner.put("model", blobs.stream(task.spec["file"]))
        found = _load(runner, runtime, path, signature)
        if signature is None:
            signature = _declared(found.inputs, found.outputs)
            found = _load(runner, runtime, path, signature)
        inferred = _infer(runner, msgspec.convert(signature, Signature))
    inspection = {
        "inputs": msgspec.to_builtins(found.inputs),
        "outputs": msgspec.to_builtins(found.outputs),
        "runtime": runtime,
        "runtime_version": found.runtime_version,
        "inferred": inferred,
    }
    return {"signature": signature, "inspection": inspection}


def _load(runner: Sandbox, runtime: str, path: str, signature: dict[str, Any] | None) -> _File:
    return bench.ask(
        runner, "model", "load", _File, timeout_s=_OPEN_TIMEOUT_S, runtime=runtime, path=path, signature=signature
    )


def _infer(runner: Sandbox, signature: Signature) -> dict[str, Any]:
    """Infer two samples of zeros; gives their shapes. With free axes several sizes are tried, and none has to work.

    Raises:
        JobFailed: What the runtime says, where all axes are known.
    """
    is_free = any(-1 in spec.shape[1:] for spec in signature.inputs)
    for size in _FREE_SIZES if is_free else (1,):
        zeros = {spec.name: zeros_of(spec, 2, size) for spec in signature.inputs}
        try:
            bench.ask(runner, "model", "infer", bench.Outputs, tensors=encode_tensors(zeros))
        except JobFailed:
            if not is_free or not runner.is_running:
                raise
        else:
            return {name: list(array.shape) for name, array in zeros.items()}
    return {}


def _declared(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> dict[str, Any]:
    """Give the signature of a model that nobody declared: the file's own, its samples' axis free."""
    signature = Signature(inputs=_freed(inputs), outputs=_freed(outputs))
    for tensors in (signature.inputs, signature.outputs):
        if len({spec.name for spec in tensors}) < len(tensors):
            raise JobFailed(
                "model.bad_signature", "The file's tensors have no names of their own: declare a signature."
            )
    made: dict[str, Any] = msgspec.to_builtins(signature)
    return made


def _freed(tensors: Sequence[TensorSpec]) -> list[TensorSpec]:
    # A file for one sample at a time is run so for each sample of a batch.
    return [
        TensorSpec(
            name=_STRANGE.sub("_", spec.name)[:128],
            datatype=spec.datatype,
            shape=[-1 if spec.shape[0] == 1 else spec.shape[0], *spec.shape[1:]],
        )
        for spec in tensors
    ]
