"""The slots in the journal: a model's are replaced as a whole, and nobody sees half of a change."""

from collections.abc import Iterator
from pathlib import Path

from agent.journal import HeldSlot, Journal
from shoal.wire.devices import ArtifactRef
from shoal.wire.rollouts import DesiredVariant, SlotState

REF = ArtifactRef(sha256="0" * 64, size_bytes=1)


def slot(name: str, state: SlotState = SlotState.SERVING, *, model: str = "digits", code: str = "") -> HeldSlot:
    variant = DesiredVariant(
        model=model, version=1, variant_id=f"v-{name}", recipe="int8", runtime="onnxruntime", artifact=REF, golden=REF
    )
    return HeldSlot(slot=name, state=state, variant=variant, code=code)


def test_slots_when_set_then_are_there_after_a_restart_with_all_that_they_say(journal: Journal, tmp_path: Path) -> None:
    held = [slot("a"), slot("b", SlotState.FAILED, code="golden.failed")]
    journal.set_slots("digits", held)
    after = Journal(tmp_path / "device" / "journal.db")
    assert after.slots("digits") == held
    after.close()


def test_slots_when_set_again_then_those_of_other_models_stay(journal: Journal) -> None:
    other = slot("a", model="faces")
    journal.set_slots("faces", [other])
    journal.set_slots("digits", [slot("a"), slot("b", SlotState.STANDBY)])
    journal.set_slots("digits", [slot("b")])
    assert journal.slots() == [slot("b"), other]
    journal.set_slots("digits", [])
    assert journal.slots() == [other]
    assert journal.slots("digits") == []


def test_slots_when_read_by_another_connection_then_only_the_committed_ones_are_seen(
    journal: Journal, tmp_path: Path
) -> None:
    other = Journal(tmp_path / "device" / "journal.db")
    seen: list[list[HeldSlot]] = []

    class Looked(list[HeldSlot]):
        """Looks through the other connection while the change is being written."""

        def __iter__(self) -> Iterator[HeldSlot]:
            for held in super().__iter__():
                seen.append(other.slots("digits"))
                yield held
            seen.append(other.slots("digits"))

    before, after = [slot("a")], [slot("a", SlotState.STANDBY), slot("b")]
    journal.set_slots("digits", before)
    journal.set_slots("digits", Looked(after))
    assert seen == [before] * 3
    assert other.slots("digits") == after
    other.close()
