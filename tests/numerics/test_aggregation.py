"""Weighted averaging against plain float64, and its exactness."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import Invalid
from controller.federated.aggregation import MAX_EXAMPLES, EmptyRound, Update, weighted_mean
from shoal.wire.errors import WireError
from shoal.wire.tensors import MAX_ABS_WEIGHT, Tensors, decode_tensors, encode_tensors


def random_updates(seed: int, count: int) -> list[Update]:
    generator = np.random.default_rng(seed)
    return [
        Update(
            {"a": generator.normal(size=(7, 3)).astype(np.float32), "b": generator.normal(size=5).astype(np.float32)},
            int(generator.integers(1, 1000)),
        )
        for _ in range(count)
    ]


@given(st.integers(0, 1000), st.integers(1, 12))
def test_mean_when_compared_with_float64_then_differs_by_the_stated_rounding(seed: int, count: int) -> None:
    """2**-25 from the fixed point, and half a float32 step of values below 8 (2**-22) from the result's type."""
    updates = random_updates(seed, count)
    total = sum(update.examples for update in updates)
    mean = weighted_mean(updates)
    for name in ("a", "b"):
        expected = sum(update.arrays[name].astype(np.float64) * update.examples for update in updates) / total
        np.testing.assert_allclose(mean[name], expected, rtol=0, atol=2**-25 + 2**-22)


@given(st.permutations(range(9)))
def test_mean_when_updates_come_in_another_order_then_is_bitwise_the_same(order: list[int]) -> None:
    updates = random_updates(0, 9)
    mean, again = weighted_mean(updates), weighted_mean([updates[index] for index in order])
    assert encode_tensors(mean) == encode_tensors(again)


def test_mean_when_all_bounds_are_reached_then_does_not_overflow() -> None:
    extreme = {"w": np.array([MAX_ABS_WEIGHT, -MAX_ABS_WEIGHT], np.float32)}
    assert weighted_mean([Update(extreme, MAX_EXAMPLES)])["w"].tolist() == [MAX_ABS_WEIGHT, -MAX_ABS_WEIGHT]


def test_mean_when_no_update_came_then_is_refused() -> None:
    with pytest.raises(EmptyRound):
        weighted_mean([])


@pytest.mark.parametrize("examples", [0, -5, MAX_EXAMPLES + 1])
def test_mean_when_counts_are_absurd_then_is_refused(examples: int) -> None:
    with pytest.raises(Invalid) as caught:
        weighted_mean([Update({"w": np.ones(1, np.float32)}, examples)])
    assert caught.value.code == "round.bad_examples"


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"w": np.array([np.nan, 0], np.float32)}, "update.not_finite"),
        ({"w": np.array([np.inf, 0], np.float32)}, "update.not_finite"),
        ({"w": np.array([1e6, 0], np.float32)}, "update.out_of_range"),
        ({"w": np.zeros(3, np.float32)}, "update.shape"),
        ({"w": np.zeros(2, np.float64)}, "update.dtype"),
        ({"v": np.zeros(2, np.float32)}, "update.names"),
    ],
)
def test_mean_when_one_update_is_bad_then_is_refused_by_name(arrays: Tensors, code: str) -> None:
    good = Update({"w": np.ones(2, np.float32)}, 10)
    with pytest.raises(WireError) as caught:
        weighted_mean([good, Update(arrays, 10)])
    assert caught.value.code == code


@given(st.binary(max_size=200))
def test_tensors_when_bytes_are_no_safetensors_then_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        decode_tensors(data)
    assert caught.value.code == "tensors.malformed"
