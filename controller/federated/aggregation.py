"""The weighted mean of a round's updates, exact and free of order. Pure; numpy only.

Each weight becomes a whole number of 2**-24 steps, is multiplied by its device's example count and added in int64, so
the sum does not depend on the order in which updates arrive, and a round that is summed up again after a crash ends
in bitwise the same model. Bounds keep the sum inside 63 bits: |w| <= 1024 (10 bits) x 2**24 x at most 2**28 examples.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.errors import Invalid
from shoal.wire.tensors import MAX_ABS_WEIGHT, Tensors, check_update

STEPS_PER_UNIT: Final = 2**24
MAX_EXAMPLES: Final = 2**28


@dataclass(frozen=True)
class Update:
    """What one device gave.

    Attributes:
        arrays: Its weights after training: float32, finite, |w| <= 1024, names and shapes equal in a round.
        examples: n_k, the samples that it trained on, > 0.
    """

    arrays: Tensors
    examples: int


class EmptyRound(Invalid):
    """No update came, so there is nothing to average."""

    def __init__(self) -> None:
        super().__init__("round.empty", "A round without updates has no mean.")


class WeightedSum:
    """Updates added up one at a time, in any order, so that a round of large models holds one of them in memory.

    Source: McMahan et al. 2017, Algorithm 1, arXiv:1602.05629.
    """

    def __init__(self) -> None:
        self.examples = 0
        self._sums: dict[str, NDArray[np.int64]] = {}

    def add(self, update: Update) -> None:
        """Count an update.

        Raises:
            Invalid: `round.bad_examples`: a count below one, or more than 2**28 examples in all.
            shoal.wire.errors.WireError: An update that `check_update` refuses.
        """
        if update.examples < 1 or self.examples + update.examples > MAX_EXAMPLES:
            raise Invalid("round.bad_examples", f"Example counts are at least 1 and at most {MAX_EXAMPLES} in all.")
        sums = self._sums or {name: np.zeros(array.shape, np.int64) for name, array in update.arrays.items()}
        check_update(update.arrays, sums, max_abs=MAX_ABS_WEIGHT)
        for name, array in update.arrays.items():
            steps = np.rint(array.astype(np.float64) * STEPS_PER_UNIT).astype(np.int64)
            sums[name] += steps * update.examples
        self._sums = sums
        self.examples += update.examples

    def mean(self) -> dict[str, NDArray[np.float32]]:
        """Give the mean of what was added.

        Raises:
            EmptyRound: Nothing was.
        """
        if not self.examples:
            raise EmptyRound
        total = self.examples * STEPS_PER_UNIT
        return {name: (summed / total).astype(np.float32) for name, summed in self._sums.items()}


def weighted_mean(updates: Iterable[Update]) -> dict[str, NDArray[np.float32]]:
    """Average the devices' weights, each counted by the examples it saw.

    result[l] = sum_k n_k * w_k[l] / sum_k n_k        for tensors l

    The fixed point rounds each weight by at most 2**-25; the result is float32.

    Returns:
        float32 arrays, names and shapes as given.

    Raises:
        EmptyRound: No update came.
        Invalid: `round.bad_examples`: a count below one, or more than 2**28 examples in all.
        shoal.wire.errors.WireError: An update that `check_update` refuses.

    >>> one, three = np.ones(1, np.float32), np.full(1, 3, np.float32)
    >>> weighted_mean([Update({"w": one}, 30), Update({"w": three}, 10)])["w"].tolist()
    [1.5]
    """
    summed = WeightedSum()
    for update in updates:
        summed.add(update)
    return summed.mean()
