"""Fine-tuning a network of layers: SGD with momentum 0.9 along a cosine, on labels or on another network's outputs.

Bitwise the same for the same seed, data and weights on one machine with one thread. Not here: what a technique does to
the network (each in its own file).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Samples
from shoal.schemas.recipes import Training
from shoal.wire.models import Task

Said = Callable[[float, str], None]  # share 0..1, text
Objective = Callable[[Sequence[Tensor], dict[str, Tensor]], Tensor]

MOMENTUM: Final = 0.9
# Of a step's gradient. Without it a fresh student of a sure teacher (T = 4) got 0.63 of the digits' labels right, where
# the same student got 0.71 from labels alone.
_MAX_NORM: Final = 5.0
TEACHER: Final = "teacher."  # before the number of an output, beside the targets
_EVALUATION_BATCH: Final = 256
_EPSILON: Final = 1e-6
_NO_LABEL: Final = -100


def ignore(_: float, __: str) -> None:
    """Take progress and do nothing."""


def part(said: Said, start: float, end: float) -> Said:
    """Give what tells a part's progress as that of the whole."""
    return lambda share, text: said(start + (end - start) * share, text)


@dataclass(frozen=True)
class Lesson:
    """What a network is trained on.

    Attributes:
        samples: Their `targets` have what the objective wants.
        objective: Of the outputs and the targets of a batch, to be made small.
        name: `labels`, or `imitation` of what the network gave before.
    """

    samples: Samples
    objective: Objective
    name: str


def lesson_of(task: Task, samples: Samples, reference: nn.Module) -> Lesson:
    """Choose by the task what fine-tuning aims at: the labels, or, where there are none, or none has a plain loss
    (detection, anomaly), what the reference gives for the same inputs.
    """
    first = predict(reference, samples.take(slice(0, _EVALUATION_BATCH)))[0]
    objective = labelled(task, samples, are_probabilities=are_probabilities(first))
    if objective is not None:
        return Lesson(samples, objective, "labels")
    taught = with_teacher(samples, reference)
    return Lesson(taught, imitation(taught), "imitation")


def labelled(task: Task, samples: Samples, *, are_probabilities: bool) -> Objective | None:
    """Give the loss of a task on its labels; None where it has none, or the samples have no labels.

    Classification and sequences: cross-entropy in nats, the classes on the outputs' last axis, labels below zero left
    out. Regression: mean square.

    Args:
        are_probabilities: Whether the network's first output has been through a softmax.
    """
    targets = samples.targets
    if task in (Task.CLASSIFICATION, Task.SEQUENCE) and "y" in targets:
        return lambda outputs, wanted: functional.cross_entropy(
            logits(outputs[0], are_probabilities).flatten(0, -2),
            _labels(wanted["y"], outputs[0].ndim),
            ignore_index=_NO_LABEL,
        )
    if task is Task.REGRESSION and targets:
        names = {number: f"y.{name}" for number, name in enumerate(samples.outputs) if f"y.{name}" in targets}
        return lambda outputs, wanted: torch.stack(
            [
                functional.mse_loss(
                    outputs[number], wanted[name].to(outputs[number].dtype).reshape(outputs[number].shape)
                )
                for number, name in (names or {0: "y"}).items()
            ]
        ).sum()
    return None


def are_probabilities(output: NDArray[Any]) -> bool:
    """Tell whether a network's output is a distribution over its last axis already."""
    return bool((output >= 0).all() and np.allclose(output.sum(axis=-1), 1, atol=1e-3))


def logits(output: Tensor, are_probabilities: bool) -> Tensor:
    """Give scores before the softmax."""
    return output.clamp_min(_EPSILON).log() if are_probabilities else output


def _labels(wanted: Tensor, axes: int) -> Tensor:
    """Give labels as numbers in a row, whether they came so or as one vector a label."""
    numbers = wanted.argmax(dim=-1) if wanted.ndim == axes else wanted
    numbers = numbers.flatten().to(torch.int64)
    return torch.where(numbers < 0, _NO_LABEL, numbers)


def imitation(taught: Samples) -> Objective:
    """Give the mean square of the difference from a teacher's outputs, each output by its variance."""
    spreads = {
        name: float(np.var(array)) + _EPSILON for name, array in taught.targets.items() if name.startswith(TEACHER)
    }

    def loss(outputs: Sequence[Tensor], wanted: dict[str, Tensor]) -> Tensor:
        terms = [
            functional.mse_loss(output, wanted[f"{TEACHER}{number}"]) / spreads[f"{TEACHER}{number}"]
            for number, output in enumerate(outputs)
        ]
        return torch.stack(terms).sum()

    return loss


def with_teacher(samples: Samples, teacher: nn.Module) -> Samples:
    """Give the samples with the teacher's outputs beside their targets."""
    outputs = predict(teacher, samples)
    taught = {f"{TEACHER}{number}": array for number, array in enumerate(outputs)}
    return Samples(samples.inputs, {**samples.targets, **taught}, samples.outputs)


def predict(net: nn.Module, samples: Samples) -> list[NDArray[Any]]:
    """Give the outputs of a network that is in evaluation mode for all samples, an array each."""
    found: list[list[Tensor]] = []
    with torch.no_grad():
        for batch in samples.batches(_EVALUATION_BATCH):
            found.append([output.detach() for output in run(net, batch)])
    return [torch.cat(parts).numpy() for parts in zip(*found, strict=True)]


def run(net: nn.Module, batch: Samples) -> list[Tensor]:
    """Give a network's outputs for a batch.

    Raises:
        Refused: `program.does_not_fit`.
    """
    inputs = [torch.from_numpy(np.array(array)) for array in batch.inputs.values()]
    try:
        outputs = net(*inputs)
    except (RuntimeError, IndexError, TypeError, ValueError, AssertionError) as error:
        raise Refused("program.does_not_fit", f"The program does not take the data: {error}") from error
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def fit(
    net: nn.Module,
    lesson: Lesson,
    settings: Training,
    *,
    seed: int,
    said: Said = ignore,
    after_step: Callable[[], None] | None = None,
) -> float:
    """Train in place; the network is in evaluation mode afterwards.

    Args:
        said: Called after each epoch.
        after_step: Called after each step, as a mask on the weights wants.

    Returns:
        Mean loss of the last epoch; NaN after no epoch.

    Raises:
        Refused: `training.diverged`, `program.does_not_fit`.
    """
    net.train()
    torch.manual_seed(seed)  # dropout
    random = np.random.default_rng(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=settings.learning_rate, momentum=MOMENTUM)
    count = len(lesson.samples)
    size = min(settings.batch_size, count)
    # A last batch of one is left out: batch norm cannot train on it.
    starts = [start for start in range(0, count, size) if count - start > 1 or count == 1]
    steps = settings.epochs * len(starts)
    mean_loss, done = math.nan, 0
    for epoch in range(settings.epochs):
        order = random.permutation(count)
        total = 0.0
        for start in starts:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done / steps))
            batch = lesson.samples.take(np.sort(order[start : start + size]))
            wanted = {name: torch.from_numpy(np.array(array)) for name, array in batch.targets.items()}
            try:
                loss: Any = lesson.objective(run(net, batch), wanted)
            except (IndexError, RuntimeError, ValueError) as error:
                raise Refused("program.does_not_fit", f"The outputs do not fit what is expected: {error}") from error
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), _MAX_NORM)
            optimizer.step()
            if after_step is not None:
                after_step()
            total += float(loss.detach())
            done += 1
        mean_loss = total / len(starts)
        if not math.isfinite(mean_loss):
            raise Refused("training.diverged", "The loss is not finite any more: a smaller learning rate may help.")
        said((epoch + 1) / settings.epochs, f"Epoch {epoch + 1} of {settings.epochs}, loss {mean_loss:.4f}.")
    net.eval()
    return mean_loss
