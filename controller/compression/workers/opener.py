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

import io
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from controller.compression.export.conversion import ConversionError
from controller.compression.export.onnx import export_onnx
from controller.compression.graphs.calibrate import session_of
from controller.compression.graphs.counting import count
from controller.compression.graphs.packing import pack
from controller.compression.networks.layers import cost, examples_of, exported, layered, signature_of
from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Samples, read_samples
from controller.compression.networks.train import Said, are_probabilities, ignore, labelled, lesson_of, part, predict
from controller.compression.techniques.aware import aware
from controller.compression.techniques.binarize import binarize
from controller.compression.techniques.distill import distill
from controller.compression.techniques.prune import median_ms, narrowed, prune
from controller.compression.techniques.quantize import MIN_SAMPLES, file_signature, quantize
from controller.compression.techniques.sensitivity import MAX_LAYERS, sensitivities
from shoal.runtimes.frames import read_frame, write_frame
from shoal.runtimes.model import BadModel
from shoal.runtimes.scores import score
from shoal.schemas.recipes import Binarize, Distill, Prune, Quantize, RecipeStep
from shoal.training.programs import WeightsMismatch, read_weights, set_weights, weights_of
from shoal.wire.errors import WireError
from shoal.wire.models import Signature, Task
from shoal.wire.tensors import encode_tensors

_MIN_TRAINING: Final = 2
_STEPS: Final[pydantic.TypeAdapter[Prune | Distill | Binarize | Quantize]] = pydantic.TypeAdapter(RecipeStep)

File = bytes | str


class Opener:
    """The requests, one method each.

    Attributes:
        said: Where progress of the request in hand goes.
    """

    def __init__(self) -> None:
        self.said: Said = ignore
        self._program: torch.export.ExportedProgram | None = None
        self._net: nn.Module | None = None
        self._signature: Signature | None = None

    def answer(self, request: dict[str, Any], said: Said = ignore) -> dict[str, Any]:
        """Do what a request asks for; what is wrong with it is part of the answer."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "open": self.open,
            "cost": self.cost,
            "count": self.count,
            "evaluate": self.evaluate,
            "export": self.export,
            "apply": self.apply,
            "quantize": self.quantize,
            "pack": self.pack,
            "sensitivity": self.sensitivity,
        }
        arguments = dict(request)
        self.said = said if arguments.pop("progress", False) else ignore
        try:
            return {"ok": True, **operations[arguments.pop("op")](**arguments)}
        except (Refused, ConversionError, WireError, BadModel) as error:
            return _refusal(error.code, str(error))
        except WeightsMismatch as error:
            return _refusal("model.weights_mismatch", str(error))
        except (pydantic.ValidationError, msgspec.ValidationError, ValueError) as error:
            return _refusal("recipe.bad_step", str(error))
        except (KeyError, TypeError, OSError) as error:
            return _refusal("request.invalid", f"Not a request of the opener: {_said(error)}")
        except MemoryError:
            return _refusal("program.over_limit", "The program needs more memory than it may use.")

    def open(self, program: File, signature: dict[str, Any] | None = None) -> dict[str, Any]:
        """Load a program: the one place where that happens."""
        loaded = _loaded(program)
        own = signature_of(loaded)
        self._signature = _plain(own) if signature is None else _named(own, msgspec.convert(signature, Signature))
        self._program, self._net = loaded, loaded.module(check_guards=False)
        told: dict[str, Any] = msgspec.to_builtins(self._signature)
        return told

    def cost(self) -> dict[str, Any]:
        """Count the open program."""
        program, signature = self._opened()
        counted = cost(layered(program), examples_of(signature))
        return {"macs": counted.macs, "parameters": counted.parameters}

    def count(self, model: File, sizes: dict[str, list[int]]) -> dict[str, Any]:
        """Count an ONNX file."""
        return count(_bytes(model), sizes)

    def evaluate(self, weights: File, dataset: File, task: str = Task.CLASSIFICATION) -> dict[str, Any]:
        """Measure weights on a data set."""
        _, signature = self._opened()
        samples = read_samples(dataset, signature, noun="dataset")
        outputs = predict(self._weighted(weights)[1], samples)
        named = dict(zip(samples.outputs, outputs, strict=True))
        reached = score(task, named, samples.targets)
        return {"accuracy": reached, "loss": _loss(Task(task), samples, outputs, reached), "samples": len(samples)}

    def export(self, weights: File) -> dict[str, Any]:
        """Give the ONNX file of the program with these weights."""
        return {"model": _onnx(self._weighted(weights)[0], self._opened()[1])}

    def apply(
        self,
        step: dict[str, Any],
        weights: File,
        training: File,
        task: str = Task.CLASSIFICATION,
        seed: int = 0,
        student: dict[str, File] | None = None,
    ) -> dict[str, Any]:
        """Do a step of a recipe; gives the new program, its weights, and figures."""
        program, signature = self._opened()
        wanted = _STEPS.validate_python(step)
        net = layered(program, read_weights(_bytes(weights)))
        if any(spec.shape[0] != -1 for spec in signature.inputs):
            raise Refused(
                "program.fixed_batch", "The program takes one number of samples only: nothing learns with it."
            )
        samples = read_samples(training, signature, noun="training", least=_MIN_TRAINING)
        examples = examples_of(signature)
        made, figures = self._applied(wanted, net, samples, Task(task), seed, examples, student)
        seen = [torch.from_numpy(np.array(array)) for array in samples.take(slice(0, _MIN_TRAINING)).inputs.values()]
        counted = cost(made, seen)
        result = exported(made, examples, signature)
        buffer = io.BytesIO()
        torch.export.save(result, buffer)
        kept = encode_tensors(weights_of(result.module(check_guards=False)))
        costs = {"macs": counted.macs, "parameters": counted.parameters}
        return {"program": buffer.getvalue(), "weights": kept, "figures": figures, **costs}

    def quantize(
        self,
        model: File,
        step: dict[str, Any],
        calibration: File | None = None,
        signature: dict[str, Any] | None = None,
        dataset: File | None = None,
        task: str = Task.CLASSIFICATION,
    ) -> dict[str, Any]:
        """Give the quantized file of an ONNX file."""
        data = _bytes(model)
        wanted = _step(step, Quantize)
        samples, figures, said = None, {}, self.said
        if wanted.mode == "static" and calibration is not None:
            samples = _calibration(data, calibration, signature)
            if isinstance(wanted.float_layers, int) and wanted.float_layers:
                judged = _judged(data, dataset, signature)
                found = sensitivities(
                    data, samples, judged, task=Task(task), method=wanted.calibration, said=part(said, 0.0, 0.7)
                )
                names = [one.layer for one in found.layers[: wanted.float_layers]]
                wanted = wanted.model_copy(update={"float_layers": names})
                figures, said = {"sensitivity": found.as_dict()["layers"]}, part(said, 0.7, 1.0)
        made = quantize(data, wanted, samples, said=said)
        return {"model": made.model, "figures": {**figures, **made.figures}}

    def pack(self, model: File, step: dict[str, Any]) -> dict[str, Any]:
        """Give an ONNX file whose binarized weights are bits."""
        wanted = _step(step, Binarize)
        packed = pack(_bytes(model), are_ends_int8=wanted.ends == "int8")
        figures = {"weights_ratio": packed.weights_ratio, "packed": packed.layers}
        return {"model": packed.model, "figures": figures}

    def sensitivity(
        self,
        model: File,
        calibration: File,
        dataset: File | None = None,
        task: str = Task.CLASSIFICATION,
        method: str = "minmax",
        most: int = MAX_LAYERS,
        signature: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Tell how much each layer of an ONNX file suffers from int8."""
        data = _bytes(model)
        samples = _calibration(data, calibration, signature)
        judged = _judged(data, dataset, signature)
        found = sensitivities(
            data, samples, judged, task=Task(task), method=method, most=min(most, MAX_LAYERS), said=self.said
        )
        return found.as_dict()

    def _applied(
        self,
        step: Prune | Distill | Binarize | Quantize,
        net: fx.GraphModule,
        samples: Samples,
        task: Task,
        seed: int,
        examples: list[Tensor],
        student: dict[str, File] | None,
    ) -> tuple[fx.GraphModule, dict[str, Any]]:
        _, signature = self._opened()
        if isinstance(step, Distill):
            if step.width is not None:
                start = narrowed(net, step.width, examples)
            elif student is None:
                raise Refused("recipe.bad_step", "The student's program and weights are missing.")
            else:
                start = layered(_loaded(student["program"]), read_weights(_bytes(student["weights"])))
            return distill(
                net,
                start,
                step,
                samples,
                task=task,
                example_inputs=examples,
                seed=seed,
                said=self.said,
            )
        lesson = lesson_of(task, samples, net)
        if isinstance(step, Prune):
            pruned = prune(
                net,
                step,
                lesson,
                examples,
                seed=seed,
                latency_ms=lambda one: _latency_ms(one, signature),
                said=self.said,
            )
            return pruned.net, {**pruned.figures, "lesson": lesson.name}
        if isinstance(step, Binarize):
            made, figures = binarize(net, step, lesson, seed=seed, said=self.said)
        elif step.aware is not None:
            made, figures = aware(net, step.aware, lesson, seed=seed, said=self.said)
        else:
            raise Refused("recipe.bad_step", "A quantize without `aware` changes no program.")
        return made, {**figures, "lesson": lesson.name}

    def _opened(self) -> tuple[torch.export.ExportedProgram, Signature]:
        if self._program is None or self._signature is None:
            raise Refused("program.not_open", "Open a program first.")
        return self._program, self._signature

    def _weighted(self, weights: File) -> tuple[torch.export.ExportedProgram, nn.Module]:
        """Give the open program and its module with these weights."""
        if self._program is None or self._net is None:
            raise Refused("program.not_open", "Open a program first.")
        arrays = read_weights(_bytes(weights))
        set_weights(self._net, arrays)
        with torch.no_grad():
            for name, tensor in self._program.state_dict.items():
                tensor.copy_(torch.from_numpy(arrays[name]))
        return self._program, self._net


def serve(connection: socket.socket) -> None:
    """Answer until the connection closes."""
    torch.set_num_threads(1)
    opener = Opener()

    def said(share: float, text: str) -> None:
        write_frame(connection, {"progress": min(1.0, max(0.0, share)), "text": text[:500]})

    while (request := read_frame(connection)) is not None:
        write_frame(connection, opener.answer(request, said))


def _loaded(program: File) -> torch.export.ExportedProgram:
    try:
        return torch.export.load(io.BytesIO(_bytes(program)))
    except MemoryError:
        raise
    except Exception as error:  # whatever the file makes the loader do
        raise Refused("program.not_loadable", f"torch.export.load refuses it: {_said(error)}") from error


def _named(own: Signature, given: Signature) -> Signature:
    """Give the program's tensors the names of the model's, by their order."""
    named = {}
    for side in ("inputs", "outputs"):
        ours, theirs = getattr(own, side), getattr(given, side)
        if len(ours) != len(theirs):
            raise Refused("program.does_not_fit", f"The program has {len(ours)} {side}, the model {len(theirs)}.")
        named[side] = [msgspec.structs.replace(one, name=other.name) for one, other in zip(ours, theirs, strict=True)]
    return Signature(**named)


def _plain(own: Signature) -> Signature:
    """Give the one input and the one output of a program their usual names."""
    sides = [
        [msgspec.structs.replace(side[0], name=name)] if len(side) == 1 else side
        for side, name in ((own.inputs, "input"), (own.outputs, "output"))
    ]
    return Signature(*sides)


def _bytes(file: File) -> bytes:
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def _step(step: dict[str, Any], kind: type[Any]) -> Any:
    wanted = _STEPS.validate_python(step)
    if not isinstance(wanted, kind):
        raise Refused("recipe.bad_step", f"This operation is for a step of {kind.__name__.lower()}.")
    return wanted


def _calibration(
    model: bytes, file: File, signature: dict[str, Any] | None, *, noun: str = "calibration", least: int = MIN_SAMPLES
) -> Samples:
    """Read samples for an ONNX file; what they are named after in the model, they are in the file by their order."""
    own = file_signature(model)
    given = own if signature is None else _named(own, msgspec.convert(signature, Signature))
    samples = read_samples(file, given, noun=noun, least=least)
    names = {theirs.name: ours.name for ours, theirs in zip(own.inputs, given.inputs, strict=True)}
    return Samples({names[name]: array for name, array in samples.inputs.items()}, samples.targets, samples.outputs)


def _judged(model: bytes, dataset: File | None, signature: dict[str, Any] | None) -> Samples | None:
    return None if dataset is None else _calibration(model, dataset, signature, noun="dataset", least=1)


def _loss(task: Task, samples: Samples, outputs: list[NDArray[Any]], reached: float) -> float:
    """Give the task's loss; what is missing of the score where it has none."""
    objective = labelled(task, samples, are_probabilities=are_probabilities(outputs[0]))
    if objective is None:
        return 1 - reached
    wanted = {name: torch.from_numpy(np.array(array)) for name, array in samples.targets.items()}
    return float(objective([torch.from_numpy(array) for array in outputs], wanted))


def _onnx(program: torch.export.ExportedProgram, signature: Signature) -> bytes:
    names = ([spec.name for spec in side] for side in (signature.inputs, signature.outputs))
    return export_onnx(program, *names)


def _latency_ms(net: fx.GraphModule, signature: Signature) -> float:
    """Measure a network in ONNX Runtime, a sample at a time."""
    examples = examples_of(signature)
    session = session_of(_onnx(exported(net, examples, signature), signature))
    sample = {spec.name: tensor[:1].numpy() for spec, tensor in zip(signature.inputs, examples, strict=True)}
    return median_ms(lambda: session.run(None, sample))


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "message": message[:2000]}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1500]
