"""The two networks, and their training. Imports torch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scenarios.watch import plan
from scenarios.watch.data import Samples
from shoal.training.loop import Sgd, train_epochs
from shoal.training.programs import ProgramFiles, export_programs


class WatchNet(nn.Module):
    """Three 1-D convolutions over a window of six channels, averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(plan.CHANNELS, 32, 5, padding=2),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(32, 64, 5, padding=2),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(64, 64, 3, padding=1),
            nn.BatchNorm1d(64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, plan.EXERCISES)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits [n, 7] of windows [n, 6, 100]."""
        logits: Tensor = self.head(self.features(x).mean(dim=2))
        return logits


class ConvNet(nn.Module):
    """Three convolutions with batch norms and two linear maps, for digits of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.dense = nn.Linear(64 * 4 * 4, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits [n, 10] of images [n, 1, 8, 8]."""
        x = torch.relu(self.dense(self.features(x).flatten(1)))
        logits: Tensor = self.head(x)
        return logits


def trained(model: str, samples: Samples, on_progress: Callable[[float], None]) -> tuple[nn.Module, ProgramFiles]:
    """Train a model of the plan; gives it with its exported programs."""
    torch.set_num_threads(1)  # so small a network gains nothing by more, and loses much where others work
    torch.manual_seed(plan.SEED)
    net = WatchNet() if model == "watch" else ConvNet()
    sgd = Sgd(learning_rate=plan.LEARNING_RATE, momentum=0.9, batch_size=plan.BATCH_SIZE, seed=plan.SEED)
    train_epochs(net, samples.x, samples.y, epochs=plan.EPOCHS[model], sgd=sgd, on_progress=on_progress)
    return net, export_programs(net, torch.zeros(2, *samples.x.shape[1:]))
