"""Samples as columns, and the budget."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import batches
from agent.batches import Budget, Sample


def sample(number: int, boot: str = "now", at_s: float = 0.0, **figures: float) -> Sample:
    named = {kind.replace("_", ".", 1): figure for kind, figure in figures.items()}
    return Sample(id=number, boot_id=boot, ticks_s=60.0 * number, at_s=at_s, figures=msgspec.msgpack.encode(named))


def test_samples_when_put_together_then_each_kind_is_a_column_with_holes() -> None:
    put = batches.columns([sample(1, cpu_ratio=0.5), sample(2, cpu_ratio=0.123456, power_watts=5)], "now", 1e9)
    assert (put.begin, put.offsets) == (1e9 + 60, [0.0, 60.0])
    assert put.series == {"cpu.ratio": [0.5, 0.1235], "power.watts": [None, 5]}


def test_samples_when_the_clock_was_set_since_then_tell_the_time_by_what_it_says_now() -> None:
    put = batches.columns([sample(1, at_s=7.0, cpu_ratio=0.5)], "now", 1e9)
    assert put.begin == 1e9 + 60


def test_samples_when_of_another_boot_then_tell_the_time_by_what_the_clock_said_then() -> None:
    put = batches.columns([sample(2, "old", at_s=90.0, a_b=1), sample(1, "old", at_s=100.0, a_b=2)], "now", 1e9)
    assert (put.begin, put.offsets, put.series) == (90.0, [0.0, 10.0], {"a.b": [1, 2]})


def test_kinds_when_there_are_more_than_a_message_may_have_then_the_first_stay() -> None:
    figures = {f"a_{number}": 1.0 for number in range(120)}
    assert len(batches.columns([sample(1, **figures)], "now", 1e9).series) == 96


@given(st.lists(st.integers(1, 300), min_size=1, max_size=300), st.integers(0, 20_000))
def test_largest_when_all_do_not_fit_then_one_more_would_be_too_much(sizes: list[int], most: int) -> None:
    count, message = batches.largest(sizes, lambda some: b"x" * sum(some), most)
    assert len(message) == sum(sizes[:count]) <= most
    assert count in (len(sizes), 240) or sum(sizes[: count + 1]) > most


def test_largest_when_a_message_cannot_be_sealed_then_is_a_smaller_one() -> None:
    assert batches.largest([1, 2, 3], lambda some: b"x" if len(some) < 3 else None, 10) == (2, b"x")


@given(st.integers(0, 400))
def test_spared_when_there_are_many_then_the_ends_and_the_newer_half_stay(count: int) -> None:
    gone = batches.spared(range(count))
    assert (len(gone) > 0) == (count > 2)
    assert not {0, count - 1} & set(gone)
    assert all(one < max(count / 2, 2) for one in gone)


def test_budget_when_spent_then_flows_in_again_up_to_a_quarter_of_a_day() -> None:
    budget = Budget(86_400 * 4, None, 0.0)
    assert budget.left(0.0) == 86_400
    budget.spend(86_400)
    assert budget.left(10.0) == pytest.approx(40)
    assert budget.left(1e9) == 86_400


def test_budget_when_it_is_none_then_one_message_goes_and_no_other() -> None:
    budget = Budget(0, None, 0.0)
    assert budget.left(0.0) == 16 * 1024
    budget.spend(16 * 1024)
    assert budget.left(1e12) == 0
