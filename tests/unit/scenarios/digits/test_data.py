"""The split: who holds which digits."""

import numpy as np
import pytest

from scenarios.digits import data
from scenarios.digits.data import Samples, load_split


def rows(samples: Samples) -> list[bytes]:
    return [image.tobytes() for image in samples.x]


def test_split_when_made_then_a_fifth_is_held_out_and_nothing_is_lost() -> None:
    split = load_split(6, seed=0)
    held_out = len(split.heldout) + len(split.own)
    assert (held_out, held_out + sum(len(share) for share in split.shares)) == (360, 1797)
    assert np.bincount(split.heldout.y).tolist() == [data.EVALUATED_PER_CLASS] * data.CLASSES


def test_split_when_made_then_what_measures_is_never_learned_from() -> None:
    split = load_split(6, seed=0)
    learned = {row for samples in (split.own, *split.shares) for row in rows(samples)}
    assert not learned & set(rows(split.heldout))


@pytest.mark.parametrize("seed", range(4))
def test_split_when_made_then_no_device_is_without_data(seed: int) -> None:
    assert all(len(share) for share in load_split(6, seed).shares)


def test_split_when_made_twice_with_one_seed_then_is_the_same() -> None:
    first, second = load_split(6, seed=3), load_split(6, seed=3)
    assert [rows(share) for share in first.shares] == [rows(share) for share in second.shares]


def test_inverted_when_twice_then_is_the_digit_again() -> None:
    share = load_split(6, seed=0).shares[0]
    np.testing.assert_allclose(share.inverted().inverted().x, share.x, atol=1e-7)
