"""Serves inside the sandbox: opens one program, measures weights with it, and compresses.

Opening a program runs code of the file, so by then this process is worth nothing to an attacker. All comes and goes in
frames, one request at a time. A *file* below is bytes, or the path of one in the sandbox's inbox (`Sandbox.put`): data
sets that are given by their path are read a part at a time. `task` is one of `shoal.wire.models.Task`.

    open         {program: file, signature?} -> {inputs, outputs: [{name, datatype, shape}]}
                 `signature` is the model's (JSON); its names, in their order, are those of the data sets' tensors and
                 of the files. Without it one input is `input`, and one output `output`.
    evaluate     {weights: file, dataset: file, task?} -> {accuracy, loss, samples}
    export       {weights: file} -> {model: ONNX bytes}
    apply        {step, weights: file, training: file, task?, seed?, student?: {program: file, weights: file}}
                 -> {program, weights, figures, macs, parameters}
                 `step` is the JSON of prune, distill, binarize, or of a quantize with `aware`, which is fine-tuned here
                 and quantized afterwards. What is open stays open: `open` what came out to go on with it.
    quantize     {model: ONNX file, step, calibration?: file, signature?, dataset?: file, task?} -> {model, figures}
                 `step` is the JSON of a quantize; `float_layers` by names, or by a count of the most sensitive ones:
                 `figures` has their `sensitivity` then, with the drop of the score on the data set.
    pack         {model: ONNX file, step} -> {model, figures}
                 after a binarize: what it made two values a filter is packed into bits; `step` is the same JSON.
    sensitivity  {model: ONNX file, calibration: file, dataset?: file, task?, method?, most?, signature?}
                 -> {layers: [{layer, kind, drop, noise, weight_bytes}], score, evaluations}, the most sensitive first
                 `drop` of the score where only this layer is int8 (None without a data set), `noise` of the outputs.
    cost         {} -> {macs, parameters} of the open program
    count        {model: ONNX file, sizes: {input name: sizes of a sample}} -> {macs, parameters} of the file; `macs` is
                 None where the sizes inside it are not known

`pack`, `quantize`, `sensitivity` and `count` need no open program: uploaded ONNX files are compressed by them too. An
answer is {ok: true, ...} or {ok: false, code, message}: `program.not_loadable`, `program.not_open`,
`program.does_not_fit`, `program.over_limit`, `model.weights_mismatch`, `export.failed`, `quantize.failed`,
`quantize.nothing`,
`recipe.unsupported_operator`, `recipe.unsupported_task`, `recipe.unknown_layer`, `recipe.bad_step`,
`prune.out_of_reach`, `distill.no_gain`, `distill.other_signature`, `binarize.nothing`, `training.diverged`,
`training.missing_labels`, `calibration.malformed`, `calibration.missing`, `calibration.bad_shape`,
`calibration.not_finite`, `calibration.too_few`, and the same five with `training.` and `dataset.` for the other data;
`program.fixed_batch`, `score.does_not_fit`, `request.invalid`.

Where the request has `progress: true` (`ChildProcess.ask` with `said`), frames {progress: share 0..1, text} may come
before the answer of `apply`, `quantize` and `sensitivity`.
"""

import socket
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pydantic
import torch

from controller.compression.export.conversion import ConversionError
from controller.compression.networks.refused import Refused
from controller.compression.networks.train import Said, ignore
from controller.compression.workers import files
from controller.compression.workers.program import Program
from controller.compression.workers.requests import said_of
from shoal.runtimes.frames import read_frame, write_frame
from shoal.runtimes.model import BadModel
from shoal.training.programs import WeightsMismatch
from shoal.wire.errors import WireError

_LONG: Final = frozenset({"apply", "quantize", "sensitivity"})  # they tell their progress


class Opener:
    """Answers requests."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        program = Program()
        self._operations: dict[str, Callable[..., dict[str, Any]]] = {
            "open": program.open,
            "cost": program.cost,
            "evaluate": program.evaluate,
            "export": program.export,
            "apply": program.apply,
            "count": files.count,
            "quantize": files.quantize,
            "pack": files.pack,
            "sensitivity": files.sensitivity,
        }

    def answer(self, request: dict[str, Any], said: Said = ignore) -> dict[str, Any]:
        """Do what a request asks for; what is wrong with it is part of the answer."""
        arguments = dict(request)
        is_told = arguments.pop("progress", False)
        try:
            name = arguments.pop("op")
            if name in _LONG:
                arguments["said"] = said if is_told else ignore
            return {"ok": True, **self._operations[name](**arguments)}
        except (Refused, ConversionError, WireError, BadModel) as error:
            return _refusal(error.code, str(error))
        except WeightsMismatch as error:
            return _refusal("model.weights_mismatch", str(error))
        except (pydantic.ValidationError, msgspec.ValidationError, ValueError) as error:
            return _refusal("recipe.bad_step", str(error))
        except (KeyError, TypeError, OSError) as error:
            return _refusal("request.invalid", f"Not a request of the opener: {said_of(error)}")
        except MemoryError:
            return _refusal("program.over_limit", "The program needs more memory than it may use.")


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    torch.set_num_threads(1)
    opener = Opener()

    def said(share: float, text: str) -> None:
        write_frame(connection, {"progress": min(1.0, max(0.0, share)), "text": text[:500]})

    while (request := read_frame(connection)) is not None:
        write_frame(connection, opener.answer(request, said))


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "message": message[:2000]}
