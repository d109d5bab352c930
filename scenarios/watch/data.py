"""Smartwatch exercises out of seglearn's package, cut into windows; and scikit-learn's digits."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from scenarios.errors import StepFailed
from scenarios.packages import unpacked
from scenarios.watch import plan

_PACKAGE: Final = "seglearn==1.2.5"
_FILE: Final = "seglearn/data/watch_dataset.npy"
# All that a pickle of arrays needs, and nothing that does anything.
_HARMLESS: Final = frozenset(
    {("_codecs", "encode"), ("numpy", "ndarray"), ("numpy", "dtype")}
    | {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
)


@dataclass(frozen=True)
class Samples:
    """Labelled samples: float32 [n, ...], int64 [n]."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def take(self, count: int) -> "Samples":
        """Give the first ones."""
        return Samples(self.x[:count], self.y[:count])


@dataclass(frozen=True)
class Split:
    """What is learned from, mixed, and what is measured on."""

    train: Samples
    test: Samples


def load(model: str) -> Split:
    """Give the data of a model of the plan."""
    return _watch() if model == "watch" else _digits()


def _digits() -> Split:
    found = load_digits()
    x = (found.images[:, None] / 16).astype(np.float32)
    y = found.target.astype(np.int64)
    order = np.random.default_rng(plan.SEED).permutation(len(y))
    train, test = order[: plan.DIGITS_TRAINED], order[plan.DIGITS_TRAINED :]
    return Split(Samples(x[train], y[train]), Samples(x[test], y[test]))


def _watch() -> Split:
    """Cut 140 series of ten people into windows; the last people are the test's."""
    data = recordings()
    people = sorted(set(data["subject"]))
    unseen = set(people[-plan.UNSEEN_PEOPLE :])
    parts: dict[bool, tuple[list[NDArray[Any]], list[int]]] = {True: ([], []), False: ([], [])}
    for series, label, person in zip(data["X"], data["y"], data["subject"], strict=True):
        windows, labels = parts[person in unseen]
        for start in range(0, len(series) - plan.WINDOW + 1, plan.WINDOW):
            windows.append(np.asarray(series)[start : start + plan.WINDOW].T)
            labels.append(int(label))
    random = np.random.default_rng(plan.SEED)
    train, test = (
        _mixed(np.array(windows, np.float32), labels, random) for windows, labels in (parts[False], parts[True])
    )
    mean, deviation = train.x.mean((0, 2), keepdims=True), train.x.std((0, 2), keepdims=True)
    return Split(*(Samples((part.x - mean) / deviation, part.y) for part in (train, test)))


def recordings() -> dict[str, Any]:
    """Give seglearn's 140 series: `X` [time, 6] each, `y` the exercise, `subject` the person.

    Raises:
        StepFailed: The package cannot be fetched.
    """
    return read_arrays(unpacked(_PACKAGE, _FILE) / _FILE)


def _mixed(x: NDArray[np.float32], labels: list[int], random: np.random.Generator) -> Samples:
    order = random.permutation(len(labels))
    return Samples(x[order], np.array(labels, np.int64)[order])


def read_arrays(path: Path) -> dict[str, Any]:
    """Give the arrays of an `.npy` file that holds a dictionary, and so a pickle: only arrays come out of it.

    Raises:
        StepFailed: It holds something else.
    """
    with path.open("rb") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        read_header(file)
        try:
            found = _Arrays(file).load()
        except (pickle.UnpicklingError, EOFError, ValueError) as error:
            raise StepFailed(f"{path.name} does not hold arrays: {error}") from error
    data: dict[str, Any] = found.item()
    return data


class _Arrays(pickle.Unpickler):
    """Reads arrays, and refuses to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Give what makes arrays."""
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it would call {module}.{name}")
