"""What the device must not forget."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent import journal as journals
from agent.journal import Journal, Outcome
from shoal.wire.executions import ExecutionKind, Offer, ReportState

REPOSITORY = Path(__file__).resolve().parents[3]
KILLED = """
import os, signal, sys
from pathlib import Path
from agent.journal import HeldSlot, Journal
from shoal.wire.devices import ArtifactRef
from shoal.wire.rollouts import DesiredVariant, SlotState

def slot(name):
    ref = ArtifactRef(sha256="0" * 64, size_bytes=1)
    variant = DesiredVariant(
        model="m", version=1, variant_id=name, recipe="r", runtime="onnxruntime", artifact=ref, golden=ref
    )
    return HeldSlot(slot=name, state=SlotState.SERVING, variant=variant)

class PowerCut(list):
    def __iter__(self):
        yield slot("b")
        os.kill(os.getpid(), signal.SIGKILL)

journal = Journal(Path(sys.argv[1]))
journal.set_slots("m", [slot("a")])
journal.set_slots("m", PowerCut())
"""


def offer(name: str, attempt: int = 1, number: int = 1) -> Offer:
    return Offer(
        execution_id=name,
        type=ExecutionKind.FEDERATED_ROUND,
        attempt=attempt,
        epoch=1,
        number=number,
        timeout_s=60,
        spec=msgspec.Raw(b"{}"),
    )


def test_offer_when_passed_over_then_is_not_new_and_not_kept(journal: Journal) -> None:
    journal.pass_over(offer("e1", number=5))
    assert not journal.is_new_offer(offer("e1", number=5))
    assert journal.execution("e1") is None


def test_offer_when_older_than_one_that_was_taken_then_is_not_new(journal: Journal) -> None:
    journal.take_offer(offer("e1", number=5))
    journal.take_offer(offer("e1", attempt=2, number=3))
    assert [journal.is_new_offer(offer("e2", number=number)) for number in (4, 5, 6)] == [False, False, True]


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
    first = journal.begin_session(0)
    after = Journal(tmp_path / "device" / "journal.db")
    assert after.begin_session(0) == first + 1
    assert after.begin_session(57) == 58
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


def test_change_when_the_power_goes_in_the_middle_of_it_then_is_absent_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    done = subprocess.run([sys.executable, "-c", KILLED, path], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    journal = Journal(path)
    assert [slot.slot for slot in journal.slots("m")] == ["a"]
    journal.close()


def test_change_when_it_fails_then_is_undone_and_the_next_one_counts(journal: Journal) -> None:
    with pytest.raises(TypeError):
        journal.set_slots("m", None)  # type: ignore[arg-type]
    journal.put("key", b"value")
    assert journal.get("key") == b"value"
