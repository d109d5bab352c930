"""What the controller's words tell of its clock."""

import time
from datetime import UTC, datetime

import pytest

from agent.freshness import Freshness
from agent.journal import Journal
from shoal.wire.devices import ControllerState


def state(offset_s: float, age_s: float = 0.0) -> ControllerState:
    """A word that a controller said some time ago, whose clock is ahead of this one's."""
    at = datetime.fromtimestamp(time.time() + offset_s - age_s, UTC)
    return ControllerState(epoch=1, incarnation="i", at=at.isoformat())


@pytest.fixture
def freshness(journal: Journal) -> Freshness:
    return Freshness(journal)


def test_offset_when_nothing_was_heard_then_is_unknown(freshness: Freshness) -> None:
    assert freshness.clock_offset_s() is None


def test_offset_when_one_word_may_be_old_then_is_unknown_until_the_next(freshness: Freshness) -> None:
    freshness.take(state(0, age_s=7200))
    assert freshness.clock_offset_s() is None
    freshness.take(state(0))
    assert freshness.clock_offset_s() == pytest.approx(0, abs=1)


def test_offset_when_one_word_is_from_the_future_then_this_clock_is_behind_at_least_so_much(
    freshness: Freshness,
) -> None:
    freshness.take(state(86_400, age_s=30))
    assert freshness.clock_offset_s() == pytest.approx(86_370, abs=1)


def test_offset_when_words_come_late_then_the_quickest_counts(freshness: Freshness) -> None:
    for age_s in (50, 1, 0):
        freshness.take(state(-3600, age_s))
    assert freshness.clock_offset_s() == pytest.approx(-3600, abs=1)


def test_offset_when_this_clock_was_set_since_then_follows(
    freshness: Freshness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age_s in (1, 0):
        freshness.take(state(0, age_s))
    now = time.time
    monkeypatch.setattr("agent.freshness.time.time", lambda: now() - 500)
    assert freshness.clock_offset_s() == pytest.approx(500, abs=1)
