"""What is said of a message before it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.telemetry import arrival
from controller.telemetry.budget import Budget
from shoal.wire.errors import WireError
from shoal.wire.telemetry import Telemetry

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0


def message(begin: float = NOW_S - 100, off: float | None = None, **columns: list[float | None]) -> Telemetry:
    series = columns or {"cpu.ratio": [0.5, None]}
    return Telemetry(
        id="1-1", session=1, sequence=1, begin=begin, offsets=[0.0, 10.0], series=series, clock_offset_s=off
    )


def code(of: Telemetry) -> str:
    with pytest.raises(WireError) as refused:
        arrival.check(of, NOW_S, DAY_S)
    return refused.value.code


def test_message_when_good_then_its_times_are_given() -> None:
    span = arrival.check(message(), NOW_S, DAY_S)
    assert (span.begin, span.end) == (int((NOW_S - 100) * 1e6), int((NOW_S - 90) * 1e6))


@pytest.mark.parametrize(("off", "moved_s"), [(None, 0.0), (60.0, 0.0), (-60.0, 0.0), (61.0, 61.0), (-61.0, -61.0)])
def test_clock_when_off_by_more_than_a_minute_then_is_corrected(off: float | None, moved_s: float) -> None:
    assert arrival.check(message(off=off), NOW_S, DAY_S).begin == int((NOW_S - 100 + moved_s) * 1e6)


def test_time_when_just_within_bounds_then_is_taken_and_just_beyond_refused() -> None:
    arrival.check(message(NOW_S + 290), NOW_S, DAY_S)
    assert code(message(NOW_S + 291)) == "telemetry.from_future"
    arrival.check(message(NOW_S - 8 * DAY_S), NOW_S, DAY_S)
    assert code(message(NOW_S - 8 * DAY_S - 1)) == "telemetry.too_old"


@pytest.mark.parametrize(
    ("kind", "figure"),
    [("cpu.ratio", 1.01), ("cpu.ratio", -0.01), ("gpu.celsius", 251.0), ("free_bytes", -1.0), ("x.latency_ms", -0.1)],
)
def test_figure_when_no_unit_allows_it_then_is_refused(kind: str, figure: float) -> None:
    assert code(message(**{kind: [None, figure]})) == "telemetry.wrong_unit"


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 500)), max_size=60))
def test_budget_when_spent_then_is_never_more_than_a_day_and_what_flowed_in(spends: list[tuple[float, int]]) -> None:
    budget, at, spent = Budget(1000.0), 0.0, 0
    for pause, size in spends:
        at += pause
        spent += size if budget.spend(1, size, at) else 0
    assert spent <= 1000.0 + at * 1000.0 / DAY_S + 1e-6


def test_budget_when_exceeded_then_the_device_is_told_once_a_minute() -> None:
    budget = Budget(10.0)
    assert not budget.spend(1, 11, 0.0)
    assert [budget.shall_tell(1, at) for at in (0.0, 59.0, 60.0, 61.0)] == [True, False, True, False]
