"""The choice of ranges against plain searches over all of them."""

import numpy as np
import pytest

from controller.compression.graphs.calibrate import least_divergence, percentile

BINS = 2048


def histogram(
    values: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], float, float]:
    low, high = float(values.min()), float(values.max())
    return np.histogram(values, BINS, (low, high))[0], low, high


def quantization_error(values: np.ndarray[tuple[int], np.dtype[np.float64]], low: float, high: float) -> float:
    """Mean square of what 255 steps from low to high make of values."""
    step = (high - low) / 255
    return float(((np.round((np.clip(values, low, high) - low) / step) * step + low - values) ** 2).mean())


def test_percentile_when_compared_with_sorted_values_then_is_within_two_bins() -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    counts, low, high = histogram(values)
    width = (high - low) / BINS
    got = percentile(counts, low, high)
    for found, wanted in zip(got, np.quantile(values, [1e-5, 1 - 1e-5]), strict=True):
        assert abs(found - wanted) <= 2 * width


def test_percentile_when_one_value_is_wild_then_is_cut_off() -> None:
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 200_000), 1000.0)
    low, high = percentile(*histogram(values))
    assert (low, high < 2) == (-1.0, True) or (low >= -1.1 and high < 2)


@pytest.mark.parametrize("shape", ["uniform", "normal", "relu", "relu6"])
def test_entropy_when_values_are_tame_then_cuts_off_next_to_nothing(shape: str) -> None:
    """What a ReLU makes: many zeros, and for ReLU6 many sixes. The error stays within twice that of the best range."""
    draw = np.random.default_rng(0).normal(size=100_000)
    values = {
        "uniform": np.random.default_rng(0).uniform(-1, 1, 100_000),
        "normal": draw,
        "relu": np.maximum(draw, 0),
        "relu6": np.clip(draw * 4, 0, 6),
    }[shape]
    low, high = least_divergence(*histogram(values))
    limits = np.linspace(0.2, 1, 81)
    best = min(quantization_error(values, values.min() * share, values.max() * share) for share in limits)
    assert quantization_error(values, low, high) <= 2 * best + 1e-12


def test_entropy_when_few_values_are_wild_then_is_better_than_all_that_was_seen() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(size=200_000), generator.uniform(60, 100, 3)])
    low, high = least_divergence(*histogram(values))
    assert high < 20
    inside = values[values < 20]
    assert quantization_error(inside, low, high) < 0.1 * quantization_error(inside, values.min(), values.max())


def test_ranges_when_all_values_are_the_same_then_are_that_value() -> None:
    counts = np.zeros(BINS, np.int64)
    assert percentile(counts, 2.0, 2.0) == least_divergence(counts, 2.0, 2.0) == (2.0, 2.0)
