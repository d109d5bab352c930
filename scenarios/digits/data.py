"""The digits, and who holds which of them.

scikit-learn ships 1,797 scanned digits of 8x8 pixels. A fifth, as near to balanced over the ten classes as 360 samples
can be, is held out for the controller; the rest is split over the devices by a Dirichlet distribution, so that each
device sees mostly some digits.

The controller's fifth falls into two parts that share no sample, so that nothing is measured on what was learned from:
- `heldout` (200, 20 a class): every accuracy is measured here, and on its inverted twin; `golden` is its first 32.
- `own` (160, 16 a class): what the controller may give away or look at: calibration of int8, and the replay buffer.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

CLASSES: Final = 10
HELD_OUT_PER_CLASS: Final = 36  # 360 of 1,797: a fifth
EVALUATED_PER_CLASS: Final = 20
GOLDEN_SAMPLES: Final = 32
DIRICHLET_CONCENTRATION: Final = 0.3  # small: most of a digit's samples go to one or two devices


@dataclass(frozen=True)
class Samples:
    """Labelled images.

    Attributes:
        x: float32 [n, 1, 8, 8], 0 (paper) to 1 (ink).
        y: int64 [n], the digit.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: NDArray[np.int64]) -> "Samples":
        """Give the samples at these positions, in this order."""
        return Samples(self.x[index], self.y[index])

    def inverted(self) -> "Samples":
        """Give the same digits as a sensor sees them that mixes up ink and paper."""
        return Samples(1 - self.x, self.y)


@dataclass(frozen=True)
class Split:
    """Who holds what; no sample is held twice, except that `golden` is a part of `heldout`."""

    heldout: Samples
    golden: Samples
    own: Samples
    shares: list[Samples]


def load_split(devices: int, seed: int) -> Split:
    """Split the digits over the controller and `devices` devices.

    A device may get few samples but never none: an empty share is drawn again, since a device without data has
    nothing to learn from.

    Args:
        devices: At least one.
        seed: Same seed, same split.
    """
    digits = load_digits()
    everything = Samples((digits.data.reshape(-1, 1, 8, 8) / 16).astype(np.float32), digits.target.astype(np.int64))
    random = np.random.default_rng(seed)
    heldout: list[NDArray[np.int64]] = []
    own: list[NDArray[np.int64]] = []
    rest: list[NDArray[np.int64]] = []
    for digit in range(CLASSES):
        index = random.permutation(np.flatnonzero(everything.y == digit))
        heldout.append(index[:EVALUATED_PER_CLASS])
        own.append(index[EVALUATED_PER_CLASS:HELD_OUT_PER_CLASS])
        rest.append(index[HELD_OUT_PER_CLASS:])
    evaluated = everything.take(random.permutation(np.concatenate(heldout)))
    return Split(
        heldout=evaluated,
        golden=evaluated.take(np.arange(GOLDEN_SAMPLES)),
        own=everything.take(random.permutation(np.concatenate(own))),
        shares=[everything.take(index) for index in _shares(rest, devices, random)],
    )


def _shares(by_class: list[NDArray[np.int64]], devices: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
    while True:
        parts: list[list[NDArray[np.int64]]] = [[] for _ in range(devices)]
        for index in by_class:
            ratios = random.dirichlet([DIRICHLET_CONCENTRATION] * devices)
            cuts = (np.cumsum(ratios)[:-1] * len(index)).astype(int)
            for device, part in enumerate(np.split(index, cuts)):
                parts[device].append(part)
        shares = [random.permutation(np.concatenate(part)) for part in parts]
        if all(len(share) for share in shares):
            return shares
