"""Nets for tests of the converters: trained for seconds, exported once, with samples to convert and to ask."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from shoal.training.programs import weights_of
from shoal.wire.models import Datatype, Signature, TensorSpec
from shoal.wire.tensors import encode_tensors


@dataclass(frozen=True, kw_only=True)
class Net:
    """A net as the converters get it.

    Attributes:
        calibration: Of another part of the data than `samples`, by input name.
        expected: torch's own answer to `samples`, by output name.
        labels: Right answers to `samples`; None where the net has no classes.
    """

    signature: Signature
    program: bytes
    weights: bytes
    calibration: dict[str, NDArray[np.float32]]
    samples: dict[str, NDArray[np.float32]]
    expected: dict[str, NDArray[np.float32]]
    labels: NDArray[np.int64] | None = None


def digits() -> Net:
    """A convolutional net of 55,000 parameters, with batch normalisation, padding and pooling."""
    found = load_digits()
    x = (found.images / 16).astype(np.float32)[:, None]
    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1, stride=2),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 96, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )
    train = slice(0, 1400)
    _train(net, x[train], found.target[train], epochs=8)
    return _net(net, ["input"], ["output"], [x[train]], [x[1400:]], found.target[1400:])


def series() -> Net:
    """A 1-D convolutional net that tells three kinds of waves in two channels apart."""
    generator = np.random.default_rng(0)
    time, kinds = np.arange(64), generator.integers(0, 3, 900)
    phase = generator.uniform(0, 6.28, (900, 2, 1))
    period = np.array([8.0, 14.0, 25.0])[kinds][:, None, None]
    noise = generator.normal(scale=0.4, size=(900, 2, 64))
    x = (np.sin(6.28 * time / period + phase) + noise).astype(np.float32)
    net = nn.Sequential(
        nn.Conv1d(2, 32, 7, padding=3),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    _train(net, x[:600], kinds[:600], epochs=6)
    return _net(net, ["waves"], ["kind"], [x[:600]], [x[600:]], kinds[600:])


class _Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 32))
        self.facts = nn.Linear(5, 32)
        self.score = nn.Linear(32, 4)
        self.place = nn.Linear(32, 2)

    def forward(self, image: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.relu(self.image(image) + self.facts(facts))
        return torch.softmax(self.score(joined), dim=1), self.place(joined)


def pair() -> Net:
    """Two inputs, an image and a vector, and two outputs: classes and a place."""
    torch.manual_seed(0)
    generator = np.random.default_rng(1)
    images = generator.normal(size=(160, 3, 16, 16)).astype(np.float32)
    facts = generator.normal(size=(160, 5)).astype(np.float32)
    parts = [[images[:100], facts[:100]], [images[100:], facts[100:]]]
    return _net(_Both(), ["image", "facts"], ["score", "place"], parts[0], parts[1], None)


def untrained(net: nn.Module, inputs: list[str], outputs: list[str], samples: list[NDArray[np.float32]]) -> Net:
    """A net as it is, whose samples are its calibration too."""
    return _net(net, inputs, outputs, samples, samples, None)


def exported(net: nn.Module, inputs: Sequence[NDArray[Any]]) -> bytes:
    """Give the program of a net in evaluation mode, batch size free."""
    batch = torch.export.Dim("batch", max=4096)
    examples = tuple(torch.zeros_like(torch.from_numpy(array[:2])) for array in inputs)
    program = torch.export.export(net.eval(), examples, dynamic_shapes=tuple({0: batch} for _ in inputs))
    program._example_inputs = None  # of the private parts of the training side: see shoal/training/programs.py
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _net(
    net: nn.Module,
    inputs: list[str],
    outputs: list[str],
    calibration: list[NDArray[np.float32]],
    samples: list[NDArray[np.float32]],
    labels: NDArray[np.int64] | None,
) -> Net:
    net.eval()
    with torch.no_grad():
        answered = net(*map(torch.from_numpy, samples))
    answers = [one.numpy() for one in (answered if isinstance(answered, tuple) else (answered,))]
    signature = Signature(
        inputs=[_spec(name, array) for name, array in zip(inputs, samples, strict=True)],
        outputs=[_spec(name, array) for name, array in zip(outputs, answers, strict=True)],
    )
    return Net(
        signature=signature,
        program=exported(net, samples),
        weights=encode_tensors(weights_of(net)),
        calibration=dict(zip(inputs, calibration, strict=True)),
        samples=dict(zip(inputs, samples, strict=True)),
        expected=dict(zip(outputs, answers, strict=True)),
        labels=labels,
    )


def _spec(name: str, array: NDArray[Any]) -> TensorSpec:
    return TensorSpec(name=name, datatype=Datatype.FP32, shape=[-1, *array.shape[1:]])


def _train(net: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], *, epochs: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # on a busy machine, threads of a small net wait for each other
    for module in net:  # type: ignore[attr-defined]
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    net.train()
    for _ in range(epochs):
        for part in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[part]), wanted[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
