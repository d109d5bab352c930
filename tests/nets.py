"""Small nets on real data, trained once a session, for tests of compression."""

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

from controller.compression.export.onnx import export_onnx
from controller.compression.networks.layers import exported
from controller.compression.networks.samples import Samples
from scenarios.errors import StepFailed
from scenarios.watch.data import recordings
from scenarios.watch.model import WatchNet
from shoal.wire.models import Datatype, Signature, TensorSpec
from shoal.wire.tensors import encode_tensors

SEED = 0


class DigitsConvNet(nn.Module):
    """Three convolutions with batch norm, one of them depthwise, and two linear maps: 86,762 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.dense = nn.Linear(64 * 4 * 4, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = functional.dropout(torch.relu(self.dense(x.flatten(1))), 0.1, self.training)
        logits: Tensor = self.head(x)
        return logits


@dataclass(frozen=True)
class Trained:
    """A trained net as a program, and the data that it was trained on and is measured on."""

    net: nn.Module
    program: ExportedProgram
    signature: Signature
    train: Samples
    test: Samples


@cache
def digits() -> Trained:
    data = load_digits()
    x = (data.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(SEED).permutation(len(x))
    return _trained(DigitsConvNet(), x[order], data.target[order].astype(np.int64), 1400, 10)


@cache
def watch() -> Trained:
    """Smartwatch exercises of ten people; the last three are not trained on."""
    x, y, people = _watch_windows()
    order = np.concatenate([np.flatnonzero(people < 7), np.flatnonzero(people >= 7)])
    return _trained(WatchNet(), x[order], y[order], int((people < 7).sum()), 6)


@cache
def digits_onnx() -> bytes:
    return export_onnx(digits().program)


def program_bytes(program: ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def dataset_bytes(samples: Samples) -> bytes:
    return encode_tensors({"x": samples.inputs["input"], **samples.targets})


def accuracy(outputs: np.ndarray[Any, Any], samples: Samples) -> float:
    return float((outputs.argmax(axis=-1) == samples.targets["y"]).mean())


def _trained(net: nn.Module, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], count: int, epochs: int) -> Trained:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    for module in net.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    spec = TensorSpec("input", Datatype.FP32, [-1, *x.shape[1:]])
    classes = int(y.max()) + 1
    signature = Signature([spec], [TensorSpec("output", Datatype.FP32, [-1, classes])])
    samples = Samples({"input": x}, {"y": y}, ("output",))
    train, test = samples.take(slice(0, count)), samples.take(slice(count, None))
    _train(net, train, epochs)
    program = exported(net, [torch.zeros(2, *x.shape[1:])], signature)
    return Trained(net.eval(), program, signature, train, test)


def _train(net: nn.Module, samples: Samples, epochs: int) -> None:
    x, y = torch.from_numpy(samples.inputs["input"]), torch.from_numpy(samples.targets["y"])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    net.train()
    for _ in range(epochs):
        for index in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()
        rate.step()


def _watch_windows(length: int = 100) -> tuple[Any, Any, Any]:
    """Give windows [n, 6, length], their exercises and their people."""
    try:
        data = recordings()
    except StepFailed as error:
        pytest.skip(f"needs seglearn's data, by pip download: {error}")
    x, y, people = [], [], []
    for series, label, subject in zip(data["X"], data["y"], data["subject"], strict=True):
        for start in range(0, len(series) - length + 1, length):
            x.append(series[start : start + length].T)
            y.append(label)
            people.append(subject)
    windows = np.array(x, dtype=np.float32)
    windows = (windows - windows.mean((0, 2), keepdims=True)) / windows.std((0, 2), keepdims=True)
    numbers = np.unique(np.array(people), return_inverse=True)[1]
    return windows, np.array(y, dtype=np.int64), numbers
