"""Distilling: a smaller student learns what a teacher gives, beside the labels; kept only where that helps.

loss = w T^2 KL(teacher / T || student / T) + (1 - w) CE(labels)

The best of the temperatures T, weights w and lengths of training is chosen on samples that were held out, and compared
there with the same student trained on the labels alone, from the same start, with the same seed and the same budget:
untuned, distillation was worse than none. Source: Hinton et al. 2015, sections 2 and 3, arXiv:1503.02531. For
regression the soft term is the mean square of the difference from the teacher.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, fx
from torch.nn import functional

from controller.compression.networks.layers import cost
from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import Samples
from controller.compression.networks.train import (
    TEACHER,
    Lesson,
    Objective,
    Said,
    are_probabilities,
    fit,
    ignore,
    labelled,
    logits,
    part,
    predict,
    with_teacher,
)
from shoal.runtimes.scores import score
from shoal.schemas.recipes import Distill
from shoal.training.regularize import distillation_loss
from shoal.wire.models import Task

_HELD_OUT: Final = 0.2  # of the training samples: what is chosen by them is not trained on them
_FEWEST: Final = 20


@dataclass(frozen=True)
class _Student:
    """A student that was trained, with what it reached on the samples that were held out.

    Attributes:
        temperature, weight: Of the teacher; zero where there was none.
    """

    net: fx.GraphModule
    score: float
    loss: float
    epochs: int
    temperature: float
    weight: float

    @property
    def rank(self) -> tuple[float, float]:
        """The score decides; where it is equal, the loss on the labels."""
        return self.score, -self.loss


def distill(
    teacher: fx.GraphModule,
    student: fx.GraphModule,
    settings: Distill,
    samples: Samples,
    *,
    task: Task,
    example_inputs: Sequence[Tensor],
    seed: int,
    said: Said = ignore,
) -> tuple[fx.GraphModule, dict[str, Any]]:
    """Train copies of a student with and without the teacher; gives the best with its figures.

    Args:
        student: Takes and gives what the teacher does; where it starts from is its own weights.
        samples: With labels.

    Raises:
        Refused: `distill.no_gain`, telling both figures, `recipe.unsupported_task`, `training.missing_labels`,
            `training.too_few`, `distill.other_signature`.
    """
    if task not in (Task.CLASSIFICATION, Task.SEQUENCE, Task.REGRESSION):
        raise Refused(
            "recipe.unsupported_task", f"A student that learns without a teacher has no loss for {task} here."
        )
    taught = with_teacher(samples, teacher)
    is_softmax = task is not Task.REGRESSION and are_probabilities(taught.targets[f"{TEACHER}0"])
    hard = labelled(task, samples, are_probabilities=is_softmax)
    if hard is None:
        raise Refused("training.missing_labels", "Distillation is compared with training on labels: the data has no y.")
    if len(samples) < _FEWEST:
        raise Refused("training.too_few", f"Distillation holds samples out: at least {_FEWEST} are needed.")
    trials = _Trials(student, settings, taught, task, hard, is_softmax, seed)
    best, alone = trials.run(said)
    figures = {
        "temperature": best.temperature,
        "weight": best.weight,
        "epochs": best.epochs,
        "score": best.score,
        "score_alone": alone.score,
        "loss": best.loss,
        "loss_alone": alone.loss,
        "held_out": len(trials.held_out),
    }
    if best.rank <= alone.rank:
        message = (
            f"With a teacher the student reaches {best.score:.4f} (loss {best.loss:.4f}) on the samples that were held "
            f"out, without one {alone.score:.4f} (loss {alone.loss:.4f})."
        )
        raise Refused("distill.no_gain", message)
    before, after = cost(teacher, example_inputs), cost(best.net, example_inputs)
    costs = {
        "macs_before": before.macs,
        "macs": after.macs,
        "parameters_before": before.parameters,
        "parameters": after.parameters,
    }
    return best.net, {**figures, **costs}


class _Trials:
    """Students on the same samples, from the same start, with the same seed."""

    def __init__(
        self,
        student: fx.GraphModule,
        settings: Distill,
        taught: Samples,
        task: Task,
        hard: Objective,
        is_softmax: bool,
        seed: int,
    ) -> None:
        self._student = student
        self._settings = settings
        self._task = task
        self._hard = hard
        self._seed = seed
        self._is_softmax = is_softmax
        order = np.random.default_rng(seed).permutation(len(taught))
        held = max(1, round(_HELD_OUT * len(taught)))
        self.held_out = taught.take(np.sort(order[:held]))
        self._learned = taught.take(np.sort(order[held:]))
        self._check(student)

    def run(self, said: Said) -> tuple[_Student, _Student]:
        """Give the best student with the teacher, and the best one without.

        All settings at half the length first, then the best at the whole one; without a teacher both lengths.
        """
        whole = self._settings.training.epochs
        half = max(1, whole // 2)
        pairs = list(itertools.product(self._settings.temperatures, self._settings.weights))
        lengths = [half] * (len(pairs) + 1) + [whole] * (2 if whole > half else 0)
        ends = np.cumsum([0, *lengths]) / sum(lengths)
        parts = (part(said, float(start), float(end)) for start, end in itertools.pairwise(ends))
        taught = [self._train(half, temperature, weight, next(parts)) for temperature, weight in pairs]
        alone = [self._train(half, 0.0, 0.0, next(parts))]
        best = max(taught, key=lambda one: one.rank)
        if whole > half:
            taught.append(self._train(whole, best.temperature, best.weight, next(parts)))
            alone.append(self._train(whole, 0.0, 0.0, next(parts)))
        return max(taught, key=lambda one: one.rank), max(alone, key=lambda one: one.rank)

    def _train(self, epochs: int, temperature: float, weight: float, said: Said) -> _Student:
        net = copy.deepcopy(self._student)
        training = self._settings.training.model_copy(update={"epochs": epochs})
        lesson = Lesson(self._learned, self._objective(temperature, weight), "teacher" if weight else "labels")
        told = f"teacher at T = {temperature:g}, weight {weight:g}" if weight else "no teacher"
        fit(net, lesson, training, seed=self._seed, said=lambda share, text: said(share, f"{text} ({told})"))
        outputs = predict(net, self.held_out)
        labels = {name: array for name, array in self.held_out.targets.items() if not name.startswith(TEACHER)}
        wanted = {name: torch.from_numpy(np.array(array)) for name, array in labels.items()}
        loss = float(self._hard([torch.from_numpy(array) for array in outputs], wanted))
        reached = score(self._task, dict(zip(self.held_out.outputs, outputs, strict=False)), labels)
        return _Student(net, reached, loss, epochs, temperature, weight)

    def _objective(self, temperature: float, weight: float) -> Objective:
        if not weight:
            return self._hard

        def loss(outputs: Sequence[Tensor], wanted: dict[str, Tensor]) -> Tensor:
            if self._task is Task.REGRESSION:
                soft = sum(
                    (functional.mse_loss(output, wanted[f"{TEACHER}{i}"]) for i, output in enumerate(outputs)),
                    torch.tensor(0.0),
                )
            else:
                ours, theirs = (
                    logits(output, self._is_softmax).flatten(0, -2) for output in (outputs[0], wanted[f"{TEACHER}0"])
                )
                soft = distillation_loss(ours, theirs, temperature)
            hard = self._hard(outputs, wanted) if weight < 1 else torch.tensor(0.0)
            return weight * soft + (1 - weight) * hard

        return loss

    def _check(self, student: fx.GraphModule) -> None:
        outputs = predict(student, self.held_out)
        theirs = [array for name, array in self.held_out.targets.items() if name.startswith(TEACHER)]
        if [array.shape for array in outputs] != [array.shape for array in theirs]:
            raise Refused("distill.other_signature", "The student does not give outputs of the teacher's shapes.")
