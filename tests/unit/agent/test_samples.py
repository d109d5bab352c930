"""Samples that wait: what a kill leaves of them, and what is thrown away when there are too many."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent import samples as stores
from agent.journal import Journal
from agent.samples import Samples

BUDGET = 512 * 1024


@pytest.fixture
def samples(journal: Journal) -> Samples:
    return Samples(journal, "boot", BUDGET)


@pytest.fixture
def next_journal(tmp_path: Path, journal: Journal) -> Iterator[Journal]:
    """What another process finds on the disk."""
    del journal
    after = Journal(tmp_path / "device" / "journal.db")
    yield after
    after.close()


def figures(samples: Samples) -> list[float]:
    return [msgspec.msgpack.decode(one.figures)["n"] for one in samples.oldest(10_000)]


def fill(samples: Samples, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        samples.add({"n": float(number)})


def test_samples_when_saved_then_survive_a_kill_and_the_others_do_not(samples: Samples, next_journal: Journal) -> None:
    fill(samples, 3)
    samples.save()
    fill(samples, 2, first=3)
    assert figures(samples) == [0, 1, 2, 3, 4]
    assert figures(Samples(next_journal, "boot", BUDGET)) == [0, 1, 2]


def test_samples_when_added_after_a_restart_then_come_after_the_older_ones(
    samples: Samples, next_journal: Journal
) -> None:
    fill(samples, 2)
    samples.save()
    after = Samples(next_journal, "boot", BUDGET)
    fill(after, 2, first=2)
    after.save()
    assert figures(after) == [0, 1, 2, 3]


def test_message_when_begun_then_is_found_after_a_kill_and_its_samples_are_not(
    samples: Samples, next_journal: Journal
) -> None:
    fill(samples, 3)
    samples.begin_message(b"sealed", samples.oldest(2))
    after = Samples(next_journal, "boot", BUDGET)
    assert (after.message, figures(after)) == (b"sealed", [2])


def test_message_when_ended_then_the_next_writing_forgets_it(samples: Samples, next_journal: Journal) -> None:
    fill(samples, 1)
    samples.begin_message(b"sealed", samples.oldest(1))
    samples.end_message()
    assert Samples(next_journal, "boot", BUDGET).message == b"sealed"
    samples.save()
    assert Samples(next_journal, "boot", BUDGET).message == b""


def test_samples_when_there_are_too_many_then_the_old_become_sparser_and_are_counted(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_SAMPLES", 16)
    fill(samples, 17)
    assert figures(samples) == [0, 2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert samples.dropped == 4


def test_samples_when_stored_ones_are_thinned_then_the_disk_follows(samples: Samples, next_journal: Journal) -> None:
    fill(samples, 6)
    samples.save()
    assert samples.thin() == 1
    assert figures(samples) == [0, 2, 3, 4, 5]
    samples.save()
    after = Samples(next_journal, "boot", BUDGET)
    assert (figures(after), after.dropped) == ([0, 2, 3, 4, 5], 1)


def test_samples_when_they_take_too_much_room_then_are_thinned(
    samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_BYTES", 1000)
    fill(samples, 300)
    assert samples.size_bytes() <= 1000
    assert samples.dropped == 300 - len(samples)
    assert figures(samples)[-1] == 299


def test_dropped_when_a_message_told_it_then_begins_anew(samples: Samples) -> None:
    fill(samples, 6)
    samples.thin()
    samples.begin_message(b"sealed", samples.oldest(5))
    assert samples.dropped == 0


def test_samples_when_of_an_earlier_boot_then_are_told_apart(samples: Samples, next_journal: Journal) -> None:
    fill(samples, 2)
    samples.save()
    after = Samples(next_journal, "next boot", BUDGET)
    fill(after, 2, first=2)
    assert figures(after) == [0, 1]
    after.begin_message(b"sealed", after.oldest(10))
    assert figures(after) == [2, 3]


def test_samples_when_forgotten_then_are_gone_from_the_disk(samples: Samples, next_journal: Journal) -> None:
    fill(samples, 3)
    samples.save()
    fill(samples, 1)
    assert samples.forget() > 0
    assert (samples.forget(), len(samples)) == (0, 0)
    assert len(Samples(next_journal, "boot", BUDGET)) == 0


def test_budget_when_spent_then_a_restart_does_not_fill_it(samples: Samples, next_journal: Journal) -> None:
    samples.budget.spend(100_000)
    samples.save()
    after = Samples(next_journal, "boot", BUDGET)
    assert after.budget.left(0.0) == pytest.approx(BUDGET / 4 - 100_000, abs=100)


def test_journal_when_made_before_there_were_samples_then_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL); INSERT INTO meta VALUES ('session', x'3432');"
    )
    old.close()
    journal = Journal(path)
    samples = Samples(journal, "boot", BUDGET)
    fill(samples, 2)
    samples.save()
    assert len(journal.sample_sizes()) == 2
    assert journal.get("session") == b"42"
    journal.close()
