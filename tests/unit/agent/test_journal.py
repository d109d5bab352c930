"""What the device must not forget."""

from pathlib import Path

import msgspec
import pytest

from agent import journal as journals
from agent.journal import Journal, Outcome
from shoal.wire.executions import ExecutionKind, Offer, ReportState


def offer(name: str, attempt: int = 1) -> Offer:
    return Offer(
        execution_id=name, type=ExecutionKind.FEDERATED_ROUND, attempt=attempt, timeout_s=60, spec=msgspec.Raw(b"{}")
    )


DONE = Outcome(state=ReportState.SUCCEEDED, result={"examples": 3})


def test_offer_when_taken_then_is_open_after_a_restart_until_it_ends(journal: Journal, tmp_path: Path) -> None:
    journal.take_offer(offer("e1"))
    journal.take_offer(offer("e2"))
    after = Journal(tmp_path / "device" / "journal.db")
    assert [one.execution_id for one in after.open_offers()] == ["e1", "e2"]
    after.end_execution("e1", DONE)
    assert [one.execution_id for one in journal.open_offers()] == ["e2"]
    held = journal.execution("e1")
    assert held is not None
    assert held.outcome == DONE
    after.close()


def test_execution_when_forgotten_then_is_unknown(journal: Journal) -> None:
    journal.take_offer(offer("e1"))
    journal.forget_execution("e1")
    assert journal.execution("e1") is None


def test_outcomes_when_there_are_many_then_the_oldest_go_and_open_ones_stay(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_OUTCOMES", 2)
    journal.take_offer(offer("open"))
    for name in ("e1", "e2", "e3"):
        journal.take_offer(offer(name))
        journal.end_execution(name, DONE)
    assert journal.execution("e1") is None
    assert journal.execution("e3") is not None
    assert [one.execution_id for one in journal.open_offers()] == ["open"]


def test_session_when_begun_again_then_counts_up_over_restarts(journal: Journal, tmp_path: Path) -> None:
    first = journal.begin_session()
    after = Journal(tmp_path / "device" / "journal.db")
    assert after.begin_session() == first + 1
    after.close()


def test_messages_when_not_acknowledged_then_stay_in_order(journal: Journal) -> None:
    for payload in (b"1", b"2", b"3"):
        journal.add_message("facts", payload)
    journal.forget_message(journal.messages()[1].id)
    assert [message.payload for message in journal.messages()] == [b"1", b"3"]


def test_messages_when_there_are_too_many_then_the_newest_stay(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_OUTBOX", 2)
    for payload in (b"1", b"2", b"3"):
        journal.add_message("facts", payload)
    assert [message.payload for message in journal.messages()] == [b"2", b"3"]
