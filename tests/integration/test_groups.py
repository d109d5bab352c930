"""Groups follow what happens to devices, in the transaction in which it happens; label edits over a selector."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.db import Database, utc_now
from controller.devices import changes, groups, identity, labels, service, sessions
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow, GroupMemberRow, GroupRow, number_of
from controller.errors import Conflict, Invalid, NotFound
from controller.events import EventRow, WakeUp
from shoal.wire.devices import Birth, Facts, FactsReport, Will
from shoal.wire.rollouts import Reported, SlotReport
from tests.databases import make_tables
from tests.rows import add_device

FACTS = Facts(hostname="h", machine="m", system="s", python="3", agent_version="1", runtimes={}, can_train=False)


@pytest.fixture
def database(empty_database: Database) -> Database:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        for device_id in ("d-a", "d-b"):
            add_device(session, device_id, labels={"site": "lyon"}, facts={"memory_bytes": 2**30})
    return empty_database


def save(session: Session, name: str, selector: str) -> GroupRow:
    return groups.create(session, name=name, selector=selector, description="", actor="test", now=utc_now())


def members(database: Database, name: str) -> list[str]:
    query = (
        select(DeviceRow.id)
        .join(GroupMemberRow, GroupMemberRow.device == DeviceRow.number)
        .where(GroupMemberRow.group == name)
        .order_by(DeviceRow.id)
    )
    with database.reading() as session:
        return list(session.scalars(query))


def happened(database: Database) -> list[tuple[str, str, str | None]]:
    query = select(EventRow).where(EventRow.name.startswith("group.")).order_by(EventRow.id)
    with database.reading() as session:
        return [(row.name, row.subject, row.device_id) for row in session.scalars(query)]


def birth(session: Session, device: DeviceRow) -> None:
    born = Birth(id="1-1", session=1, instance="i", boot_id="b", agent_version="2.0")
    sessions.note_birth(session, device, born, utc_now())


def will(session: Session, device: DeviceRow) -> None:
    device.online, device.session = True, 1
    session.flush()
    sessions.note_will(session, device, Will(session=1), utc_now())


def facts(session: Session, device: DeviceRow) -> None:
    report = FactsReport(id="1-1", session=1, sequence=1, facts=FACTS)
    service.save_facts(session, device, report, utc_now())


def reported(_session: Session, device: DeviceRow) -> None:
    slot = SlotReport(
        model="digits", slot="a", state="serving", version=2, variant_id="v", runtime="onnxruntime", sha256="0" * 64
    )
    said = Reported(id="1-1", session=1, sequence=1, epoch=1, version=1, slots=[slot])
    service.save_reported(device, said, utc_now())


def labelled(session: Session, device: DeviceRow) -> None:
    service.set_labels(session, device.id, {"site": "bonn"})


def suspended(session: Session, device: DeviceRow) -> None:
    identity.suspend(session, device.id, "", utc_now())


def flaps(_session: Session, device: DeviceRow) -> None:
    device.flapping = True


@pytest.mark.parametrize(
    ("selector", "change"),
    [
        ("online", birth),
        ('agent_version == "2.0"', birth),
        ('facts.hostname == "h"', facts),
        ("serves.digits == 2", reported),
        ('not labels.site == "lyon"', labelled),
        ("state == suspended", suspended),
        ("flapping", flaps),
    ],
)
def test_group_when_a_device_becomes_what_it_asks_for_then_the_device_joins(
    database: Database, selector: str, change: Any
) -> None:
    with database.transaction() as session:
        save(session, "g", selector)
    assert members(database, "g") == []
    with database.transaction() as session:
        change(session, session.get_one(DeviceRow, "d-a"))
    assert members(database, "g") == ["d-a"]
    assert happened(database) == [("group.created", "g", None), ("group.joined", "g", "d-a")]


@pytest.mark.parametrize(
    ("selector", "change"),
    [
        ("not online", birth),
        ("facts.memory_bytes >= 1GiB", facts),
        ('not serves has "digits"', reported),
        ('labels.site == "lyon"', labelled),
        ("state == active", suspended),
        ("not flapping", flaps),
    ],
)
def test_group_when_a_device_is_not_what_it_asks_for_any_more_then_the_device_leaves(
    database: Database, selector: str, change: Any
) -> None:
    with database.transaction() as session:
        save(session, "g", selector)
    assert members(database, "g") == ["d-a", "d-b"]
    with database.transaction() as session:
        change(session, session.get_one(DeviceRow, "d-a"))
    assert members(database, "g") == ["d-b"]
    assert happened(database)[-1] == ("group.left", "g", "d-a")


def test_group_when_a_device_goes_away_then_follows_its_will(database: Database) -> None:
    with database.transaction() as session:
        save(session, "away", "not online")
        session.get_one(DeviceRow, "d-a").online = True
    assert members(database, "away") == ["d-b"]
    with database.transaction() as session:
        will(session, session.get_one(DeviceRow, "d-a"))
    assert members(database, "away") == ["d-a", "d-b"]


def test_group_when_a_device_is_new_then_it_joins_all_that_mean_it(database: Database) -> None:
    with database.transaction() as session:
        save(session, "everything", "all")
        save(session, "lyon", 'labels.site == "lyon"')
        save(session, "quiet", "not online")
    with database.transaction() as session:
        add_device(session, "d-c", labels={"site": "bonn"})
    with database.reading() as session:
        assert groups.names_of(session, [number_of("d-c"), number_of("d-a")]) == {
            number_of("d-c"): ["everything", "quiet"],
            number_of("d-a"): ["everything", "lyon", "quiet"],
        }


def test_group_when_the_transaction_fails_then_nobody_has_joined(database: Database) -> None:
    with database.transaction() as session:
        save(session, "away", "online")
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        session.get_one(DeviceRow, "d-a").online = True
        changes.settle(session)
        raise ZeroDivisionError
    assert members(database, "away") == []


def test_group_when_nothing_that_it_asks_for_changes_then_is_not_looked_at(database: Database) -> None:
    with database.transaction() as session:
        save(session, "lyon", 'labels.site == "lyon"')
    with database.transaction() as session:
        # What no transaction of a device would leave behind: it stays, as nobody looks.
        session.get_one(GroupMemberRow, ("lyon", number_of("d-a")))
        session.delete(session.get_one(GroupMemberRow, ("lyon", number_of("d-a"))))
        session.get_one(DeviceRow, "d-a").online = True
    assert members(database, "lyon") == ["d-b"]
    with database.transaction() as session:
        service.set_labels(session, "d-a", {"site": "lyon", "other": "1"})
    assert members(database, "lyon") == ["d-a", "d-b"]


def test_group_when_its_selector_changes_then_its_members_follow_at_once(database: Database) -> None:
    with database.transaction() as session:
        session.get_one(DeviceRow, "d-b").online = True
        save(session, "g", "online")
    assert members(database, "g") == ["d-b"]
    with database.transaction() as session:
        groups.change(session, "g", selector="not online", description=None, now=utc_now())
        assert groups.counts(session, ["g"])["g"].devices == 1
    assert members(database, "g") == ["d-a"]
    assert happened(database) == [("group.created", "g", None), ("group.changed", "g", None)]
    with database.transaction() as session:
        groups.remove(session, "g")
    assert members(database, "g") == []
    assert happened(database)[2:] == [("group.deleted", "g", None)]


def test_counts_when_members_come_and_go_then_say_who_is_online(database: Database) -> None:
    with database.transaction() as session:
        save(session, "g", "all")
        session.get_one(DeviceRow, "d-a").online = True
    with database.reading() as session:
        assert groups.counts(session, ["g"]) == {"g": groups.Count(devices=2, online=1)}


def test_group_when_refused_then_is_refused_by_name(database: Database) -> None:
    with database.transaction() as session:
        save(session, "g", "online")
    with pytest.raises(Conflict, match="There is a group g already") as exists, database.transaction() as session:
        save(session, "g", "online")
    assert exists.value.code == "group.exists"
    with pytest.raises(Invalid) as nested, database.transaction() as session:
        save(session, "h", 'online and group == "g"')
    assert (nested.value.code, nested.value.facts["column"]) == ("group.nested", 12)
    with pytest.raises(NotFound) as unknown, database.transaction() as session:
        groups.change(session, "h", selector=None, description="", now=utc_now())
    assert unknown.value.code == "group.not_found"


def test_group_when_its_selector_cannot_be_read_any_more_then_devices_go_on(database: Database) -> None:
    with database.transaction() as session:
        save(session, "g", "online")
        session.get_one(GroupRow, "g").selector = "facts.no_such_fact == 1"
    with database.transaction() as session:
        session.get_one(DeviceRow, "d-a").online = True
    assert members(database, "g") == []


def test_group_when_made_while_a_device_changes_then_no_device_falls_between(database: Database) -> None:
    """Each thread changes one device, while groups that mean it are made."""

    def change() -> None:
        for number in range(20):
            with database.transaction() as session:
                session.get_one(DeviceRow, "d-a").labels = {"site": "lyon", "number": str(number)}

    thread = threading.Thread(target=change)
    thread.start()
    for number in range(20):
        with database.transaction() as session:
            save(session, f"g{number}", f'labels.site == "lyon" and not labels.site == "{number}"')
            save(session, f"h{number}", 'not labels.site == "lyon"')
    thread.join()
    for number in range(20):
        assert members(database, f"g{number}") == ["d-a", "d-b"]
        assert members(database, f"h{number}") == []


def test_group_when_somebody_joins_then_who_waits_is_woken(database: Database) -> None:
    with database.transaction() as session:
        save(session, "g", "flapping")
    wake_up = WakeUp(database)
    seen = wake_up.wait(-1, 0)
    with database.transaction() as session:
        session.get_one(DeviceRow, "d-a").flapping = True
    assert wake_up.wait(seen, 10) > seen
    wake_up.close()


def edit(selector: str, remove: list[str] | None = None, **given: str) -> labels.Edit:
    return labels.Edit(selector=selector, set=given, remove=remove or [])


def test_label_edit_when_previewed_then_changes_nothing_and_counts_what_would(database: Database) -> None:
    with database.transaction() as session:
        add_device(session, "d-c", labels={"site": "bonn"}, state=DeviceState.SUSPENDED)
        outcome = labels.preview(session, edit("all", site="lyon"))
    assert (outcome.matched, outcome.changed) == (3, ["d-c"])
    with database.reading() as session:
        assert service.get(session, "d-c").labels == {"site": "bonn"}


def test_label_edit_when_applied_then_labels_events_and_groups_follow(database: Database) -> None:
    with database.transaction() as session:
        save(session, "bonn", 'not labels.site == "lyon"')
    with database.transaction() as session:
        outcome = labels.apply(session, edit('labels.site == "lyon"', ["site"], ring="1"), expected=2)
        assert outcome.changed == ["d-a", "d-b"]
    with database.reading() as session:
        assert [row.labels for row in session.scalars(select(DeviceRow))] == [{"ring": "1"}, {"ring": "1"}]
        told = session.scalars(select(EventRow).where(EventRow.name == "device.labelled")).all()
        assert [(row.device_id, row.data) for row in told] == [
            ("d-a", {"labels": {"ring": "1"}}),
            ("d-b", {"labels": {"ring": "1"}}),
        ]
    assert members(database, "bonn") == ["d-a", "d-b"]


@pytest.mark.parametrize(
    ("wanted", "expected", "kind", "code"),
    [
        (edit("all"), None, Invalid, "labels.nothing_to_do"),
        (edit("all", ["site"], site="x"), None, Invalid, "labels.ambiguous"),
        (edit('labels.sit == "x"', site="x"), None, Invalid, "selector.unknown_label"),
        (edit("all", site="x"), 3, Conflict, "labels.count_changed"),
        (edit("all", **{f"l{number}": "" for number in range(32)}), None, Invalid, "labels.too_many"),
    ],
)
def test_label_edit_when_refused_then_nothing_changes(
    database: Database, wanted: labels.Edit, expected: int | None, kind: type[Exception], code: str
) -> None:
    with pytest.raises(kind) as caught, database.transaction() as session:
        labels.apply(session, wanted, expected=expected)
    assert getattr(caught.value, "code", None) == code
    with database.reading() as session:
        assert service.get(session, "d-a").labels == {"site": "lyon"}
        assert events.latest(session, "device.labelled") == ""


def test_label_edit_when_the_count_is_another_then_says_the_present_one(database: Database) -> None:
    with pytest.raises(Conflict) as caught, database.transaction() as session:
        labels.apply(session, edit("all", site="x"), expected=5)
    assert caught.value.facts == {"changed": 2, "matched": 2}


def test_flapping_when_it_settles_then_groups_follow(database: Database) -> None:
    long_ago = utc_now() - timedelta(days=2)
    with database.transaction() as session:
        save(session, "restless", "flapping")
        device = session.get_one(DeviceRow, "d-a")
        device.flapping, device.online_since = True, long_ago
    assert members(database, "restless") == ["d-a"]
    with database.transaction() as session:
        sessions.settle(session, utc_now())
    assert members(database, "restless") == []
