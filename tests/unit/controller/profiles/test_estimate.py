"""Latencies that nobody measured, from hardware that did."""

from hypothesis import given
from hypothesis import strategies as st

from controller.profiles.estimate import SLACK, Measurement, Rates, estimate, from_cloud, surest

PI4 = Rates(fp32_macs_per_s=4e9, int8_macs_per_s=6e9, memory_bytes_per_s=2e9)
RATE = st.floats(1e6, 1e13)
RATES = st.builds(Rates, fp32_macs_per_s=RATE, int8_macs_per_s=RATE, memory_bytes_per_s=RATE)


def on(rates: Rates, latency_p50_ms: float = 10.0, hardware: str = "Pi 4") -> Measurement:
    return Measurement(latency_p50_ms=latency_p50_ms, rates=rates, hardware=hardware)


def test_estimate_when_int8_then_by_the_rates_of_int8() -> None:
    faster = Rates(fp32_macs_per_s=4e9, int8_macs_per_s=24e9, memory_bytes_per_s=8e9)
    found = estimate([on(PI4)], faster, is_int8=True)
    assert found is not None
    assert found.likely_ms == 2.5


def test_estimate_when_rates_are_missing_on_a_side_then_is_none() -> None:
    assert estimate([on(Rates())], PI4, is_int8=False) is None
    assert estimate([on(PI4)], Rates(memory_bytes_per_s=1e9), is_int8=False) is None
    assert estimate([], PI4, is_int8=False) is None


def test_estimate_when_several_measured_then_by_the_one_that_says_the_most() -> None:
    alike = Rates(fp32_macs_per_s=4.4e9, memory_bytes_per_s=2.2e9)
    other = Rates(fp32_macs_per_s=80e9, memory_bytes_per_s=4e9)
    found = estimate([on(other, 1.0, "server"), on(alike, 9.0)], PI4, is_int8=False)
    assert found is not None
    assert found.hardware == "Pi 4"


@given(RATES, RATES, st.floats(0.001, 1e5), st.booleans())
def test_estimate_when_rates_are_known_then_lies_between_what_both_say(
    theirs: Rates, ours: Rates, latency_ms: float, is_int8: bool
) -> None:
    found = estimate([on(theirs, latency_ms)], ours, is_int8=is_int8)
    assert found is not None
    assert 0 < found.least_ms < found.likely_ms < found.most_ms
    assert found.most_ms / found.least_ms >= SLACK**2 * (1 - 1e-9)


@given(RATES, st.floats(0.001, 1e5), st.booleans())
def test_estimate_when_the_hardware_is_equal_then_is_the_measurement(
    rates: Rates, latency_ms: float, is_int8: bool
) -> None:
    found = estimate([on(rates, latency_ms)], rates, is_int8=is_int8)
    assert found is not None
    assert abs(found.likely_ms / latency_ms - 1) < 1e-9


def test_estimate_when_from_the_cloud_then_spans_what_other_versions_showed() -> None:
    found = from_cloud(1.0, [3.0, 3.2], "Pi 4")
    assert found is not None
    assert (found.least_ms, found.likely_ms, found.most_ms) == (3.0 / SLACK, 3.1, 3.2 * SLACK)
    assert from_cloud(1.0, [], "Pi 4") is None
    assert from_cloud(0.0, [3.0], "Pi 4") is None


def test_estimates_when_there_are_two_then_the_one_that_says_more_counts() -> None:
    sure, unsure = from_cloud(1.0, [3.0], "sure"), from_cloud(1.0, [1.0, 9.0], "unsure")
    assert surest(unsure, None, sure) == sure
    assert surest(None, None) is None
