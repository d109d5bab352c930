"""The controller's own runner of variants, in the bodies of the Open Inference Protocol v2.

A variant is run in a sandboxed process, kept warm for a while; a crash there is an error of the request in it. Bound to
the process's settings once, by the composition root.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.artifacts.tables import VariantRow
from controller.blobs import BlobStore
from controller.errors import Invalid, Unavailable
from controller.jobs.sandbox import Sandbox
from controller.jobs.warm import Warm
from shoal.runtimes.process import ProcessError
from shoal.schemas.inference import InferAnswer, InferRequest
from shoal.wire.errors import WireError
from shoal.wire.tensors import decode_tensors, encode_tensors

_LOAD_TIMEOUT_S: Final = 60.0
_INFER_TIMEOUT_S: Final = 30.0
_INPUT, _OUTPUT, _DATATYPE = "input", "output", "FP32"


@dataclass(frozen=True)
class _Runners:
    """Where variants run.

    Attributes:
        state: What no runner may read.
        allow_unisolated: Run them where the sandbox is incomplete.
    """

    state: Path
    allow_unisolated: bool
    warm: Warm[Sandbox]


_runners: _Runners | None = None


def open_runners(state: Path, *, allow_unisolated: bool) -> None:
    """Make this process able to run variants; none is started yet."""
    global _runners
    _runners = _Runners(state, allow_unisolated, Warm())


def close_runners() -> None:
    """End all runners."""
    global _runners
    if _runners is not None:
        _runners.warm.close()
    _runners = None


def infer(blobs: BlobStore, variant: VariantRow, model: str, version: int, request: InferRequest) -> InferAnswer:
    """Run a variant on a request.

    Raises:
        Invalid: `input.unknown`, `input.bad_shape`.
        Unavailable: `variant.not_loadable`, `runner.crashed`, `runner.hung`, `runner.busy`, `inference.not_open`.
        Forbidden: `program.not_isolated`.
    """
    runners = _runners
    if runners is None:
        raise Unavailable("inference.not_open", "This process runs no variants.")
    batch = _batch(request)
    key = f"{variant.runtime} {variant.sha256}"
    with runners.warm.lend(key, lambda: _load(runners, blobs, variant)) as runner:
        try:
            answer = runner.ask("infer", timeout_s=_INFER_TIMEOUT_S, tensors=encode_tensors({_INPUT: batch}))
        except ProcessError as error:
            raise _refusal(error) from error
    output = _output(answer)
    described = {"name": _OUTPUT, "datatype": _DATATYPE, "shape": list(output.shape), "data": output.ravel().tolist()}
    return InferAnswer(model_name=model, model_version=str(version), id=request.id, outputs=[described])


def _load(runners: _Runners, blobs: BlobStore, variant: VariantRow) -> Sandbox:
    try:
        runner = Sandbox.start(
            "shoal.runtimes.runner", state=runners.state.absolute(), allow_unisolated=runners.allow_unisolated
        )
    except ProcessError as error:
        raise Unavailable("runner.not_started", str(error)) from error
    try:
        path = runner.put("model", blobs.stream(variant.sha256))
        loaded = runner.ask("load", timeout_s=_LOAD_TIMEOUT_S, runtime=variant.runtime, path=path)
        if loaded.get("sha256") != variant.sha256:
            raise Unavailable("variant.not_loadable", "The stored bytes are not those that the variant names.")
    except ProcessError as error:
        runner.close()
        raise Unavailable("variant.not_loadable", f"The variant cannot be loaded: {error}") from error
    except BaseException:
        runner.close()
        raise
    return runner


def _batch(request: InferRequest) -> NDArray[np.float32]:
    (tensor, *others) = request.inputs
    if others or (tensor.name, tensor.datatype) != (_INPUT, _DATATYPE):
        raise Invalid("input.unknown", f"The one input is {_INPUT}, {_DATATYPE}.")
    try:
        if not tensor.shape or min(tensor.shape) < 1:
            raise ValueError("an axis is at least 1")
        return np.asarray(tensor.data, dtype=np.float32).reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise Invalid("input.bad_shape", f"The data does not make a tensor of shape {tensor.shape}.") from error


def _output(answer: dict[str, Any]) -> NDArray[np.float32]:
    try:
        output = np.asarray(decode_tensors(answer["tensors"])[_OUTPUT], dtype=np.float32)
    except (WireError, KeyError, TypeError) as error:
        raise Unavailable("runner.crashed", f"The runner's answer does not parse: {error}") from error
    if not np.isfinite(output).all():
        raise Unavailable("variant.bad_outputs", "The variant's outputs are not finite for this input.")
    return output


def _refusal(error: ProcessError) -> Invalid | Unavailable:
    ends = {"process.crashed": "runner.crashed", "process.hung": "runner.hung"}
    if error.code in ends:
        return Unavailable(ends[error.code], f"{error} Ask again: it is started anew.")
    return Invalid(error.code, str(error))
