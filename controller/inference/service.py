"""The controller's own runner of variants, in the bodies of the Open Inference Protocol v2.

A variant is run in a sandboxed process, kept warm for a while; a crash there is an error of the request in it. Raw data
is prepared there, too, by the same code as on a device. Bound to the process's settings once, by the composition root.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from controller.artifacts.tables import ModelRow, VariantRow
from controller.blobs import BlobStore
from controller.errors import Invalid, Unavailable
from controller.jobs.sandbox import Sandbox
from controller.jobs.warm import Warm
from shoal import toolchain
from shoal.runtimes.bodies import array_of, described
from shoal.runtimes.model import BadModel
from shoal.runtimes.process import ProcessError
from shoal.schemas.inference import InferAnswer, InferRequest
from shoal.wire.errors import WireError
from shoal.wire.runtimes import available_runtimes
from shoal.wire.tensors import Tensors, decode_tensors, encode_tensors

_LOAD_TIMEOUT_S: Final = 60.0
_INFER_TIMEOUT_S: Final = 30.0


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


def infer(blobs: BlobStore, variant: VariantRow, model: ModelRow, version: int, request: InferRequest) -> InferAnswer:
    """Run a variant on a request: on the model's inputs, or on `raw` where the model has preprocessing.

    Raises:
        Invalid: `input.unknown`, `input.bad_datatype`, `input.bad_shape`.
        Unavailable: `variant.not_loadable`, `runner.crashed`, `runner.hung`, `runner.busy`, `inference.not_open`.
        Forbidden: `program.not_isolated`.
    """
    runners = _runners
    if runners is None:
        raise Unavailable("inference.not_open", "This process runs no variants.")
    tensors = _tensors(request)
    key = f"{variant.runtime} {variant.sha256} {model.name}"
    with runners.warm.lend(key, lambda: _load(runners, blobs, variant, model)) as runner:
        try:
            answer = runner.ask("infer", timeout_s=_INFER_TIMEOUT_S, tensors=encode_tensors(tensors))
        except ProcessError as error:
            raise _refusal(error) from error
    outputs = [
        {**described(name, array), "data": array.ravel().tolist()} for name, array in _outputs(answer, model).items()
    ]
    return InferAnswer(model_name=model.name, model_version=str(version), id=request.id, outputs=outputs)


def _load(runners: _Runners, blobs: BlobStore, variant: VariantRow, model: ModelRow) -> Sandbox:
    try:
        runner = Sandbox.start(
            "shoal.runtimes.runner",
            state=runners.state.absolute(),
            allow_unisolated=runners.allow_unisolated,
            interpreter=None if variant.runtime in available_runtimes() else toolchain.python(),
        )
    except ProcessError as error:
        raise Unavailable("runner.not_started", str(error)) from error
    try:
        loaded = runner.ask(
            "load",
            timeout_s=_LOAD_TIMEOUT_S,
            runtime=variant.runtime,
            path=runner.put("model", blobs.stream(variant.sha256)),
            signature=model.signature or None,
            preprocessing=model.preprocessing,
        )
        if loaded.get("sha256") != variant.sha256:
            raise Unavailable("variant.not_loadable", "The stored bytes are not those that the variant names.")
    except ProcessError as error:
        runner.close()
        raise Unavailable("variant.not_loadable", f"The variant cannot be loaded: {error}") from error
    except BaseException:
        runner.close()
        raise
    return runner


def _tensors(request: InferRequest) -> Tensors:
    tensors: Tensors = {}
    for tensor in request.inputs:
        if tensor.name in tensors:
            raise Invalid("input.unknown", f"The input {tensor.name} came twice.")
        try:
            tensors[tensor.name] = array_of(tensor.name, tensor.datatype, tensor.shape, tensor.data)
        except BadModel as error:
            raise Invalid(error.code, str(error)) from error
    return tensors


def _outputs(answer: dict[str, Any], model: ModelRow) -> Tensors:
    """Give the outputs, in the order of the model's signature where it has one."""
    try:
        outputs = decode_tensors(answer["tensors"])
        order = [spec["name"] for spec in model.signature["outputs"]] if model.signature else sorted(outputs)
        outputs = {name: outputs[name] for name in order}
    except (WireError, KeyError, TypeError) as error:
        raise Unavailable("runner.crashed", f"The runner's answer does not parse: {error}") from error
    if not all(np.isfinite(output).all() for output in outputs.values()):
        raise Unavailable("variant.bad_outputs", "The variant's outputs are not finite for this input.")
    return outputs


def _refusal(error: ProcessError) -> Invalid | Unavailable:
    ends = {"process.crashed": "runner.crashed", "process.hung": "runner.hung"}
    if error.code in ends:
        return Unavailable(ends[error.code], f"{error} Ask again: it is started anew.")
    return Invalid(error.code, str(error))
