"""The demo's network, its training on one device's share, and its export. Imports torch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scenarios.digits.data import Samples
from shoal.training.loop import Sgd, evaluate, train_epochs
from shoal.training.programs import ProgramFiles, export_programs


class DigitsNet(nn.Module):
    """Two convolutions and a wide dense layer: 306,058 parameters, 295,488 of them in `dense`.

    No batch normalisation: its running statistics are counts and moments of one device's skewed digits, and averaging
    them over devices hurts more than it helps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.dense = nn.Linear(32 * 4 * 4, 576)
        self.head = nn.Linear(576, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits [n, 10] of images [n, 1, 8, 8]."""
        x = torch.relu(self.first(x))
        x = torch.max_pool2d(torch.relu(self.second(x)), 2)
        x = torch.relu(self.dense(x.flatten(1)))
        logits: Tensor = self.head(x)
        return logits


def train_first_version(
    share: Samples, seed: int, epochs: int, on_progress: Callable[[float], None]
) -> tuple[ProgramFiles, float]:
    """Train a fresh network on one device's share alone.

    Returns:
        The exported programs with the weights, and the accuracy on that share.
    """
    torch.manual_seed(seed)
    net = DigitsNet()
    sgd = Sgd(learning_rate=0.05, momentum=0.9, batch_size=32, seed=seed)
    train_epochs(net, share.x, share.y, epochs=epochs, sgd=sgd, on_progress=on_progress)
    example = torch.zeros(2, *share.x.shape[1:])
    return export_programs(net, example), evaluate(net, share.x, share.y).accuracy
