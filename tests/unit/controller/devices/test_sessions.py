"""Sessions: what is late or doubled changes nothing, and one identity on two machines is noticed."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.db import Base, Database, utc_now
from controller.devices import clones, flapping, service, sessions
from controller.devices.sessions import Presence
from controller.devices.tables import SessionRow
from controller.events import EventRow, OutboxRow
from shoal.wire.devices import Birth, Will
from tests.rows import add_device

DEVICE = "d-abcdefghijklmno2"
NOW = utc_now()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    Base.metadata.create_all(database.engine)
    with database.transaction() as session:
        add_device(session, DEVICE)
        yield session
    database.close()


def born(session: Session, number: int, instance: str = "a", *, version: int = 0, now: datetime = NOW) -> Presence:
    birth = Birth(
        id=f"{number}-1",
        session=number,
        instance=instance,
        boot_id="b",
        agent_version="0.1.0",
        desired_epoch=1,
        desired_version=version,
    )
    return sessions.note_birth(session, service.get(session, DEVICE), birth, now)


def ends(session: Session) -> dict[int, str]:
    session.expire_all()
    return {row.session: row.end for row in session.scalars(select(SessionRow).order_by(SessionRow.session))}


def test_will_when_late_of_an_older_session_then_device_stays_online(session: Session) -> None:
    device = service.get(session, DEVICE)
    born(session, 2)
    sessions.note_will(session, device, Will(session=1), NOW)
    assert device.online
    sessions.note_will(session, device, Will(session=2), NOW)
    assert not device.online
    assert ends(session) == {2: "lost"}


def test_birth_when_of_an_older_session_then_is_late_and_changes_nothing(session: Session) -> None:
    assert born(session, 2) is Presence.BORN
    assert born(session, 1) is Presence.LATE
    assert service.get(session, DEVICE).session == 2
    assert ends(session) == {1: "late", 2: ""}


def test_birth_when_doubled_or_given_again_then_is_the_same_session(session: Session) -> None:
    assert [born(session, 2), born(session, 2)] == [Presence.BORN, Presence.BORN]
    assert ends(session) == {2: ""}


def test_birth_when_device_holds_an_older_desired_then_it_is_published_again(session: Session) -> None:
    service.change_desired(session, DEVICE, lambda desired: desired)
    session.query(OutboxRow).delete()
    born(session, 1, version=1)
    assert not session.scalars(select(OutboxRow)).all()
    born(session, 2, version=0)
    assert [(row.kind, row.retain) for row in session.scalars(select(OutboxRow))] == [("desired", True)]


def test_clone_when_two_machines_claim_one_session_then_is_noticed(session: Session) -> None:
    born(session, 7, "a")
    assert born(session, 7, "b") is Presence.CLONED


def test_clone_when_it_claims_a_session_that_was_another_ones_then_is_noticed(session: Session) -> None:
    born(session, 7, "a")
    born(session, 8, "a")
    assert born(session, 7, "b") is Presence.CLONED


def test_clone_when_of_an_old_image_then_is_noticed_at_its_third_birth(session: Session) -> None:
    born(session, 5000, "a")
    seen = [born(session, 4 + turn, "b", now=NOW + timedelta(seconds=31 * turn)) for turn in range(3)]
    assert seen == [Presence.LATE, Presence.LATE, Presence.CLONED]


def test_late_births_when_overtaken_all_at_once_then_are_no_clone(session: Session) -> None:
    born(session, 9, "a")
    assert {born(session, number, "a") for number in (5, 8, 6, 7)} == {Presence.LATE}


def test_late_births_when_days_apart_then_are_no_clone(session: Session) -> None:
    born(session, 5000, "a")
    days = [born(session, number, "a", now=NOW + timedelta(days=number)) for number in (1, 2, 3, 4)]
    assert days == [Presence.LATE] * 4


def test_birth_when_replayed_by_the_broker_then_is_no_clone(session: Session) -> None:
    """The attack: a broker repeats an old birth, which was signed, to have the device suspended."""
    for number in range(1, 6):
        born(session, number, f"process-{number}")
    replayed = [born(session, number, f"process-{number}") for number in (1, 2, 3, 1, 2, 3)]
    assert replayed == [Presence.LATE] * 6


def test_sessions_when_many_then_the_newest_are_kept(session: Session) -> None:
    for number in range(1, clones.KEPT_SESSIONS + 5):
        born(session, number, now=NOW + timedelta(seconds=number))
    assert len(ends(session)) == clones.KEPT_SESSIONS


def happened(session: Session) -> list[str]:
    return list(session.scalars(select(EventRow.name).order_by(EventRow.id)))


def flap(session: Session, first: int, count: int, begin: datetime = NOW) -> datetime:
    device = service.get(session, DEVICE)
    for number in range(first, first + count):
        at = begin + timedelta(seconds=2 * (number - first))
        born(session, number, now=at)
        sessions.note_will(session, device, Will(session=number), at + timedelta(seconds=1))
    return begin + timedelta(seconds=2 * count)


def test_flapping_when_many_sessions_begin_soon_then_one_event_says_so(session: Session) -> None:
    flap(session, 1, 60)
    assert service.get(session, DEVICE).flapping
    assert happened(session) == ["device.online", "device.offline"] * 5 + ["device.flapping"]


def test_flapping_when_no_session_begins_for_long_then_the_device_is_steady(session: Session) -> None:
    ended = flap(session, 1, 60)
    born(session, 61, now=ended)
    sessions.settle(session, ended + flapping.WINDOW - timedelta(seconds=1))
    assert service.get(session, DEVICE).flapping
    sessions.settle(session, ended + flapping.WINDOW)
    assert not service.get(session, DEVICE).flapping
    assert happened(session)[-1] == "device.steady"


def test_flapping_when_births_are_doubled_by_the_broker_then_they_are_one_session(session: Session) -> None:
    for _ in range(50):
        born(session, 1)
    assert not service.get(session, DEVICE).flapping
