"""What is kept, lent and ended. What is kept here is light; real sandboxes are started in the integration tests."""

import threading

import pytest

from controller.errors import Unavailable
from controller.jobs.warm import Warm
from tests.rig import wait_for


class Kept:
    """Something that can be kept."""

    def __init__(self) -> None:
        self.is_running = True

    def close(self) -> None:
        self.is_running = False


class Starts:
    """Starts them and counts."""

    def __init__(self) -> None:
        self.started: list[Kept] = []

    def __call__(self) -> Kept:
        self.started.append(Kept())
        return self.started[-1]

    @property
    def running(self) -> int:
        return sum(kept.is_running for kept in self.started)


@pytest.fixture
def start() -> Starts:
    return Starts()


def use(warm: Warm[Kept], key: str, start: Starts) -> Kept:
    with warm.lend(key, start) as kept:
        return kept


def test_lend_when_asked_again_then_gives_the_same(start: Starts) -> None:
    warm = Warm[Kept]()
    assert use(warm, "a", start) is use(warm, "a", start)
    warm.close()
    assert start.running == 0


def test_lend_when_it_died_then_starts_another(start: Starts) -> None:
    warm = Warm[Kept]()
    use(warm, "a", start).is_running = False
    assert use(warm, "a", start).is_running
    assert len(start.started) == 2
    warm.close()


def test_lend_when_one_more_than_may_live_then_the_least_recently_used_goes(start: Starts) -> None:
    warm = Warm[Kept](most=2)
    for key in "abac":
        use(warm, key, start)
    assert [kept.is_running for kept in start.started] == [True, False, True]
    warm.close()


def test_idle_when_nobody_needs_it_then_is_ended(start: Starts) -> None:
    warm = Warm[Kept](idle_s=0.05)
    for key in "ab":
        use(warm, key, start)
    wait_for(lambda: start.running == 0)


def test_lend_when_the_same_is_lent_then_waits_its_turn_or_says_busy(start: Starts) -> None:
    warm = Warm[Kept](wait_s=0.05)
    with warm.lend("a", start), pytest.raises(Unavailable) as caught:
        use(warm, "a", start)
    assert caught.value.code == "runner.busy"
    patient, got = Warm[Kept](), threading.Event()
    with patient.lend("a", start):
        other = threading.Thread(target=lambda: (use(patient, "a", start), got.set()))
        other.start()
        assert not got.is_set()
    other.join(5)
    assert got.is_set()
    for each in (warm, patient):
        each.close()


def test_lend_when_the_start_fails_then_the_key_is_free_again(start: Starts) -> None:
    def fail() -> Kept:
        raise OSError("no")

    warm = Warm[Kept](wait_s=0.05)
    with pytest.raises(OSError, match="no"), warm.lend("a", fail):
        pass
    assert use(warm, "a", start).is_running
    warm.close()


def test_close_when_one_is_lent_then_ends_it_too(start: Starts) -> None:
    warm = Warm[Kept]()
    with warm.lend("a", start):
        warm.close()
        assert start.running == 0
