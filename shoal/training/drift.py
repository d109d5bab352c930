"""Noticing that what comes in has changed, without labels. numpy alone: the serving process imports it.

The population stability index compares the confidences of the last window with the device's own first ones. A global
reference would alarm on a clean stream whose labels are skewed (42 % of windows in a trial with digits); the device's
own did not. It is a test with errors of its own: with the defaults 2 of 100 clean streams of 400 samples cross 0.25
once, and 9 of 100 streams of 1,000 (confidences drawn from Beta(8, 2)).
"""

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

FLOOR: Final = 1e-3  # of a bin's share: an empty bin would make the logarithm infinite


def population_stability_index(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """Give sum_i (a_i - e_i) ln(a_i / e_i) over the bins' shares; above 0.25 is commonly called a large shift.

    Args:
        expected, actual: Counts or shares of the same bins, each with a sum above zero.

    Source: Siddiqi, Credit Risk Scorecards, 2006.

    >>> round(population_stability_index(np.array([0.5, 0.5]), np.array([0.8, 0.2])), 4)
    0.4159
    """
    before = np.maximum(expected / expected.sum(), FLOOR)
    after = np.maximum(actual / actual.sum(), FLOOR)
    return float(((after - before) * np.log(after / before)).sum())


class PopulationStability:
    """A stream's index: the first samples are the reference, then a sliding window is compared with it.

    Bins are quantiles of the reference. Confidences of a good model crowd near 1, so equal quantiles may fall together;
    these bins are merged.

    >>> monitor = PopulationStability(reference_samples=200, window=100, bins=5)
    >>> clean = np.linspace(0.5, 1.0, 300)
    >>> values = [monitor.update(c) for c in np.random.default_rng(0).permutation(clean)]
    >>> values[298] is None, round(values[299], 3)
    (True, 0.047)
    >>> [monitor.update(0.3) for _ in range(50)][-1] > 0.25
    True
    """

    def __init__(self, reference_samples: int, window: int, bins: int) -> None:
        self.reference_samples = reference_samples
        self.window = window
        self.bins = bins
        self.samples = 0
        self._reference: list[float] = []
        self._edges: NDArray[np.float64] | None = None
        self._expected: NDArray[np.float64] | None = None
        self._recent: deque[float] = deque(maxlen=window)

    def update(self, confidence: float) -> float | None:
        """Take one sample's confidence, 0..1; give the index once reference and window are full, None before."""
        self.samples += 1
        if self._edges is None or self._expected is None:
            self._reference.append(confidence)
            if len(self._reference) == self.reference_samples:
                self._close_reference()
            return None
        self._recent.append(confidence)
        if len(self._recent) < self.window:
            return None
        return population_stability_index(self._expected, self._counts(np.array(self._recent), self._edges))

    def _close_reference(self) -> None:
        reference = np.array(self._reference)
        inner = np.quantile(reference, np.linspace(0, 1, self.bins + 1)[1:-1])
        self._edges = np.unique(inner)
        self._expected = self._counts(reference, self._edges)
        self._reference = []

    @staticmethod
    def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
        bins = np.searchsorted(edges, values, side="right")
        return np.bincount(bins, minlength=len(edges) + 1).astype(np.float64)
