"""Stochastic gradient descent with momentum on cross-entropy, and measuring. Imports torch.

Same seed, data and weights give bitwise the same result on one machine with one thread; `torch.set_num_threads(1)` is
the process's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

EVALUATION_BATCH: Final = 512  # bounds memory; the result does not depend on it


@dataclass(frozen=True)
class Sgd:
    """How to descend.

    Attributes:
        learning_rate, momentum: Of plain SGD with momentum.
        batch_size: Samples a step.
        seed: Orders the samples.
    """

    learning_rate: float
    momentum: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """Figures of a net on a dataset: share of right labels (0..1), mean cross-entropy (nats), samples."""

    accuracy: float
    loss: float
    samples: int


def ignore_progress(_: float) -> None:
    """Take a progress of 0..1 and do nothing."""


def train_epochs(
    net: nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    epochs: int,
    sgd: Sgd,
    on_progress: Callable[[float], None] = ignore_progress,
) -> float:
    """Train in place, each epoch over all samples in a new order.

    Args:
        net: A module in training mode, or a loaded train program (whose mode is fixed).
        x, y: At least one sample: a mean over none is NaN without an error.
        on_progress: Called after each epoch with 0..1.

    Returns:
        Mean training loss of the last epoch, in nats.

    Raises:
        ValueError: No sample.
    """
    if not len(y):
        raise ValueError("training needs at least one sample")
    inputs, labels = torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y))
    optimizer = torch.optim.SGD(net.parameters(), lr=sgd.learning_rate, momentum=sgd.momentum)
    order = np.random.default_rng(sgd.seed)
    torch.manual_seed(sgd.seed)  # dropout
    mean_loss = float("nan")
    for epoch in range(epochs):
        total = 0.0
        index = torch.from_numpy(order.permutation(len(labels)))
        for batch in torch.split(index, sgd.batch_size):
            loss = functional.cross_entropy(net(inputs[batch]), labels[batch])
            step(optimizer, loss)
            total += float(loss.detach()) * len(batch)
        mean_loss = total / len(labels)
        on_progress((epoch + 1) / epochs)
    return mean_loss


def step(optimizer: torch.optim.Optimizer, loss: Any) -> None:
    """Go one step down the gradient of `loss`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def evaluate(net: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> Measured:
    """Measure a net in evaluation mode, or a loaded eval program, on at least one sample.

    Raises:
        ValueError: No sample.
    """
    if not len(y):
        raise ValueError("measuring needs at least one sample")
    inputs, labels = torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y))
    right, loss = 0, 0.0
    with torch.no_grad():
        for batch_x, batch_y in zip(
            torch.split(inputs, EVALUATION_BATCH), torch.split(labels, EVALUATION_BATCH), strict=True
        ):
            logits = net(batch_x)
            right += int((logits.argmax(1) == batch_y).sum())
            loss += float(functional.cross_entropy(logits, batch_y, reduction="sum"))
    return Measured(right / len(labels), loss / len(labels), len(labels))
