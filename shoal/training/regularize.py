"""Learning new samples without losing the old: replay, and distillation from the model before. Imports torch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shoal.training.loop import ignore_progress, step


@dataclass(frozen=True)
class FineTuning:
    """How to fine-tune.

    Attributes:
        steps: SGD steps.
        batch_new, batch_replay: Samples a step from each side; zero replay leaves the old to be forgotten.
        learning_rate, momentum: Of SGD.
        temperature: T of the soft targets on the replayed half; zero leaves distillation out.
        seed: Draws the batches.
    """

    steps: int
    batch_new: int
    batch_replay: int
    learning_rate: float
    momentum: float
    temperature: float
    seed: int


@dataclass(frozen=True)
class Labelled:
    """Samples: `x` float32, first axis samples; `y` int64."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Give T^2 KL(teacher || student) of the softened outputs, mean over the batch, in nats.

    T^2 keeps the gradient's size free of T. Source: Hinton et al. 2015, section 2, arXiv:1503.02531.
    """
    soft = functional.log_softmax(student / temperature, dim=1)
    target = functional.softmax(teacher / temperature, dim=1)
    return functional.kl_div(soft, target, reduction="batchmean") * temperature**2


def fine_tune(
    net: nn.Module,
    teacher: nn.Module,
    new: Labelled,
    replay: Labelled,
    settings: FineTuning,
    on_progress: Callable[[float], None] = ignore_progress,
) -> None:
    """Train in place on new samples, each step half new and half replayed; the replayed half also obeys the teacher.

    loss = CE(new and replay) + T^2 KL(teacher || net) on the replayed half

    Args:
        net: A loaded train program.
        teacher: The model before, in evaluation mode; only read.
        new: At least one sample.
        replay: Old knowledge, class-balanced; may be empty.
        on_progress: Called every tenth step with 0..1.

    Raises:
        ValueError: No new sample.
    """
    if not len(new.y):
        raise ValueError("fine-tuning needs at least one new sample")
    random = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)  # dropout
    optimizer = torch.optim.SGD(net.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    replayed = min(settings.batch_replay, len(replay.y))
    for number in range(1, settings.steps + 1):
        x, y = _draw(new, settings.batch_new, random)
        if replayed:
            old_x, old_y = _draw(replay, settings.batch_replay, random)
            x, y = torch.cat([x, old_x]), torch.cat([y, old_y])
        logits = net(x)
        loss = functional.cross_entropy(logits, y)
        if replayed and settings.temperature > 0:
            with torch.no_grad():
                soft = teacher(old_x)
            loss = loss + distillation_loss(logits[settings.batch_new :], soft, settings.temperature)
        step(optimizer, loss)
        if number % 10 == 0 or number == settings.steps:
            on_progress(number / settings.steps)


def _draw(samples: Labelled, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    index = random.integers(len(samples.y), size=count)
    return torch.from_numpy(samples.x[index]), torch.from_numpy(samples.y[index])
