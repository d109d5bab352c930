"""Drift monitors as the serving process runs them: each inference's confidence is looked at, no label is needed."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from shoal.runtimes.model import Array
from shoal.training.drift import PopulationStability
from shoal.wire.incremental import DriftMonitor


class Watch:
    """A monitor's eye on a loaded variant: it says once that the threshold was crossed."""

    def __init__(self, monitor: DriftMonitor) -> None:
        self.monitor = monitor
        self.samples = 0
        self.index: float | None = None
        self.crossing: dict[str, Any] | None = None
        self._stability = PopulationStability(
            reference_samples=monitor.reference_samples, window=monitor.window, bins=monitor.bins
        )

    def look(self, confidence: float, samples: int) -> None:
        """Take one inference's confidence; `samples` counts it among all since the version was loaded."""
        self.samples = samples
        self.index = self._stability.update(confidence)
        if self.index is not None and self.index > self.monitor.threshold and self.crossing is None:
            at = datetime.now(UTC).isoformat()
            self.crossing = {"samples": samples, "population_stability_index": self.index, "at": at}

    def figures(self) -> dict[str, Any]:
        """Give how the stream stands."""
        return {
            "policy_id": self.monitor.policy_id,
            "model": self.monitor.model,
            "samples": self.samples,
            "population_stability_index": self.index,
            "threshold": self.monitor.threshold,
            "crossing": self.crossing,
        }


def confidences(logits: Array) -> list[float]:
    """Give the largest softmax probability of each sample.

    Args:
        logits: [samples, classes].

    >>> confidences(np.array([[0.0, 0.0], [100.0, 0.0]], np.float32))
    [0.5, 1.0]
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    most: list[float] = (1 / shifted.sum(axis=1)).tolist()
    return most
