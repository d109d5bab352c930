"""A program that is open, and the opener's requests that are about it. Inside the sandbox.

Opening it runs code of the file, so by then this process is worth nothing to an attacker.
"""

import io
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from controller.compression.export.onnx import export_onnx
from controller.compression.graphs.calibrate import session_of
from controller.compression.networks.layers import cost, examples_of, exported, layered, signature_of
from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Samples, read_samples
from controller.compression.networks.train import Said, are_probabilities, ignore, labelled, lesson_of, predict
from controller.compression.techniques.aware import aware
from controller.compression.techniques.binarize import binarize
from controller.compression.techniques.distill import distill
from controller.compression.techniques.prune import median_ms, narrowed, prune
from controller.compression.workers.requests import STEPS, File, data_of, named, said_of
from shoal.runtimes.scores import score
from shoal.schemas.recipes import Binarize, Distill, Prune, Quantize
from shoal.training.programs import read_weights, set_weights, weights_of
from shoal.wire.models import Signature, Task
from shoal.wire.tensors import encode_tensors

_MIN_TRAINING: Final = 2


class Program:
    """The one that is open, if any."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._program: torch.export.ExportedProgram | None = None
        self._net: nn.Module | None = None
        self._signature: Signature | None = None

    def open(self, program: File, signature: dict[str, Any] | None = None) -> dict[str, Any]:
        """Load a program: the one place where that happens."""
        loaded = _loaded(program)
        own = signature_of(loaded)
        self._signature = _plain(own) if signature is None else named(own, signature)
        self._program, self._net = loaded, loaded.module(check_guards=False)
        told: dict[str, Any] = msgspec.to_builtins(self._signature)
        return told

    def cost(self) -> dict[str, Any]:
        """Count the open program."""
        program, signature = self._opened()
        counted = cost(layered(program), examples_of(signature))
        return {"macs": counted.macs, "parameters": counted.parameters}

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
        said: Said = ignore,
    ) -> dict[str, Any]:
        """Do a step of a recipe; gives the new program, its weights, and figures."""
        program, signature = self._opened()
        wanted = STEPS.validate_python(step)
        net = layered(program, read_weights(data_of(weights)))
        if any(spec.shape[0] != -1 for spec in signature.inputs):
            raise Refused(
                "program.fixed_batch", "The program takes one number of samples only: nothing learns with it."
            )
        samples = read_samples(training, signature, noun="training", least=_MIN_TRAINING)
        examples = examples_of(signature)
        made, figures = self._applied(wanted, net, samples, Task(task), seed, examples, student, said)
        seen = [torch.from_numpy(np.array(array)) for array in samples.take(slice(0, _MIN_TRAINING)).inputs.values()]
        counted = cost(made, seen)
        result = exported(made, examples, signature)
        buffer = io.BytesIO()
        torch.export.save(result, buffer)
        kept = encode_tensors(weights_of(result.module(check_guards=False)))
        costs = {"macs": counted.macs, "parameters": counted.parameters}
        return {"program": buffer.getvalue(), "weights": kept, "figures": figures, **costs}

    def _applied(
        self,
        step: Prune | Distill | Binarize | Quantize,
        net: fx.GraphModule,
        samples: Samples,
        task: Task,
        seed: int,
        examples: list[Tensor],
        student: dict[str, File] | None,
        said: Said,
    ) -> tuple[fx.GraphModule, dict[str, Any]]:
        _, signature = self._opened()
        if isinstance(step, Distill):
            if step.width is not None:
                start = narrowed(net, step.width, examples)
            elif student is None:
                raise Refused("recipe.bad_step", "The student's program and weights are missing.")
            else:
                start = layered(_loaded(student["program"]), read_weights(data_of(student["weights"])))
            return distill(
                net,
                start,
                step,
                samples,
                task=task,
                example_inputs=examples,
                seed=seed,
                said=said,
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
                said=said,
            )
            return pruned.net, {**pruned.figures, "lesson": lesson.name}
        if isinstance(step, Binarize):
            made, figures = binarize(net, step, lesson, seed=seed, said=said)
        elif step.aware is not None:
            made, figures = aware(net, step.aware, lesson, seed=seed, said=said)
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
        arrays = read_weights(data_of(weights))
        set_weights(self._net, arrays)
        with torch.no_grad():
            for name, tensor in self._program.state_dict.items():
                tensor.copy_(torch.from_numpy(arrays[name]))
        return self._program, self._net


def _loaded(program: File) -> torch.export.ExportedProgram:
    try:
        return torch.export.load(io.BytesIO(data_of(program)))
    except MemoryError:
        raise
    except Exception as error:  # whatever the file makes the loader do
        raise Refused("program.not_loadable", f"torch.export.load refuses it: {said_of(error)}") from error


def _plain(own: Signature) -> Signature:
    """Give the one input and the one output of a program their usual names."""
    sides = [
        [msgspec.structs.replace(side[0], name=name)] if len(side) == 1 else side
        for side, name in ((own.inputs, "input"), (own.outputs, "output"))
    ]
    return Signature(*sides)


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
