"""Sums over time do not depend on how samples came."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from controller.telemetry import rollup
from controller.telemetry.rollup import MAX_KINDS, Figures, Newest, Samples

STEP = 900 * 1_000_000
FIGURES = st.none() | st.integers(-1000, 1000).map(float)


def summed(messages: list[tuple[int, list[float | None]]]) -> dict[int, Figures]:
    sums: dict[int, Figures] = {}
    for begin, column in messages:
        samples = Samples(offsets=[10.0 * index for index in range(len(column))], series={"a.b": column})
        for bucket, figures in rollup.sum_up(samples, rollup.times_of(samples, begin), STEP):
            rollup.merge(sums.setdefault(bucket, {}), figures)
    return sums


@given(
    st.lists(st.tuples(st.integers(0, 10 * STEP), st.lists(FIGURES, min_size=1, max_size=200)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_sums_when_messages_come_in_another_order_then_are_the_same_and_count_each_sample_once(
    messages: list[tuple[int, list[float | None]]], chance: random.Random
) -> None:
    sums = summed(messages)
    other = list(messages)
    chance.shuffle(other)
    assert summed(other) == sums
    every = [figure for _, column in messages for figure in column if figure is not None]
    kept = [figures["a.b"] for figures in sums.values()]
    assert sum(one.counted for one in kept) == len(every)
    assert sum(one.total for one in kept) == math.fsum(every)
    assert min((one.least for one in kept), default=None) == min(every, default=None)
    assert max((one.most for one in kept), default=None) == max(every, default=None)


@given(st.integers(0, 2**50), st.integers(1, 10**8), st.none() | st.floats(1, 1e7), st.integers(1, 3600))
def test_step_when_chosen_then_has_few_points_and_is_a_multiple_of_the_least(
    begin: int, length: int, wanted: float | None, least: int
) -> None:
    step = rollup.choose_step(begin, begin + length, wanted, least=least, most_points=500)
    assert step % least == 0
    assert length / step <= 500
    assert step >= (wanted or 0)


def test_newest_when_a_device_invents_kinds_then_the_ones_that_went_silent_first_go() -> None:
    newest: dict[str, Newest] = {}
    for index in range(MAX_KINDS + 10):
        rollup.renew(newest, Samples(offsets=[0.0], series={f"k.{index}": [1.0]}), [index])
    assert len(newest) == MAX_KINDS
    assert "k.9" not in newest
    assert "k.10" in newest


def test_newest_when_older_samples_come_late_then_stays() -> None:
    newest = {"a.b": Newest(2.0, 100)}
    rollup.renew(newest, Samples(offsets=[0.0, 1.0], series={"a.b": [5.0, None]}), [50, 60])
    assert newest == {"a.b": Newest(2.0, 100)}
