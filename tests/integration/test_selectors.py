"""Selectors mean the same on both databases, and what a plain reading of them means."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from controller.db import Database, utc_now
from controller.devices import export, groups, selectors
from controller.devices.selector_language import Expression, Selector, parse
from controller.devices.selector_sql import Scope, condition
from controller.devices.tables import DeviceNumberRow, DeviceRow, DeviceTextRow, EnrollmentTokenRow
from controller.errors import Invalid, NotFound, ShoalError
from tests.databases import make_tables
from tests.rows import add_device
from tests.selecting import expressions, holds

FLEET: dict[str, dict[str, Any]] = {
    "d-a": {
        "labels": {"site": "lyon", "ring": "1.0"},
        "online": True,
        "agent_version": "1.0",
        "facts": {
            "hostname": "lyon",
            "memory_bytes": 2**31,
            "isa": ["neon", "dotprod"],
            "runtimes": {"onnxruntime": "1.0", "gpu": "lyon"},
            "can_train": True,
            "accelerators": [
                {"kind": "gpu", "vendor": "neon", "name": "x", "found_by": "nvml", "memory_bytes": 4},
                {"kind": "npu", "vendor": "neon", "name": "y", "found_by": "nvml"},
            ],
            "round_trip_s": 0.25,
            "measured": {"measured_at": "lyon", "fp32_macs_per_s": 0.1},
        },
        "reported": {
            "slots": [
                {"model": "digits", "slot": "a", "state": "serving", "version": 2},
                {"model": "digits", "slot": "b", "state": "standby", "version": 1},
                {"model": "street lamps", "slot": "a", "state": "failed", "version": 1},
            ]
        },
    },
    "d-b": {
        "labels": {"site": "paris", "a/b": "lyon", "in": ""},
        "state": "suspended",
        "flapping": True,
        "facts": {"hostname": "Lyon", "memory_bytes": 1, "isa": [], "runtimes": {}, "can_train": False},
        "reported": {"slots": [{"model": "street lamps", "slot": "a", "state": "serving", "version": 1}]},
    },
    "d-c": {
        "labels": {"site": 'say "x"', "ring": "%"},
        "state": "retired",
        "online": True,
        "flapping": True,
        "facts": {
            "hostname": "é",
            "temperatures_celsius": {"cpu": -1, "gpu": 4},
            "interfaces": [
                {"name": "eth0", "kind": "ethernet", "is_up": True, "speed_bits_per_s": 1},
                {"name": "wlan0", "kind": "wifi", "is_up": False, "is_metered": True},
            ],
            "is_metered": True,
            "battery_ratio": 0.25,
        },
    },
    # What another version of the agent may have said: other types are as if they were absent.
    "d-d": {"state": "pending", "facts": {"memory_bytes": "2", "isa": "neon", "runtimes": ["gpu"], "can_train": 1}},
    "d-e": {"labels": {"ring": "lyon"}, "online": True, "agent_version": "lyon"},
}
MEMBERS = {"cameras": 'labels.site == "lyon" or flapping', "lamps": "facts.is_metered"}


@pytest.fixture
def fleet(empty_database: Database) -> Database:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        for device_id, columns in FLEET.items():
            add_device(session, device_id, **columns)
        for name, text in MEMBERS.items():
            groups.create(session, name=name, selector=text, description="", actor="test", now=utc_now())
    return empty_database


def ids(session: Session, text: str) -> list[str]:
    rows, total = selectors.read_page(session, parse(text), search="", after=None, limit=100)
    assert total == len(rows)
    return [row.id for row in rows]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expressions())
def test_selector_when_made_up_then_the_database_means_what_a_plain_reading_means(
    fleet: Database, expression: Expression
) -> None:
    with fleet.reading() as session:
        devices = list(session.scalars(select(DeviceRow).order_by(DeviceRow.id)))
        names = groups.names_of(session, [device.number for device in devices])
        wanted = [device.id for device in devices if holds(expression, device, names.get(device.number, []))]
        for scope in Scope:
            meant = condition(expression, scope)
            answers = select(DeviceRow.id, meant.label("is_meant")).order_by(DeviceRow.id)
            assert [device_id for device_id, is_meant in session.execute(answers) if is_meant] == wanted
            assert None not in session.scalars(select(meant))
        selector = Selector(expression, "")
        assert ids(session, str(selector)) == wanted
        assert selectors.count(session, selector)[0] == len(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("all", ["d-a", "d-b", "d-c", "d-d", "d-e"]),
        ('labels.site != "lyon"', ["d-b", "d-c"]),
        ('not labels.site == "lyon"', ["d-b", "d-c", "d-d", "d-e"]),
        ("facts.memory_bytes >= 2GiB", ["d-a"]),
        ("not facts.memory_bytes >= 2GiB", ["d-b", "d-c", "d-d", "d-e"]),
        ("facts.can_train", ["d-a"]),
        ("facts.can_train == false", ["d-b"]),
        ('serves has "digits"', ["d-a"]),
        ("serves.digits == 1", []),
        ('group == "cameras" and not group == "lamps"', ["d-a", "d-b"]),
        ("facts.accelerators.memory_bytes > 3", ["d-a"]),
        ('facts.runtimes.onnxruntime == "1.0"', ["d-a"]),
    ],
)
def test_selector_when_something_is_absent_then_a_comparison_with_it_is_false(
    fleet: Database, text: str, wanted: list[str]
) -> None:
    with fleet.reading() as session:
        assert ids(session, text) == wanted


def test_page_when_it_follows_on_then_counts_all_and_gives_the_rest(fleet: Database) -> None:
    with fleet.reading() as session:
        for text, total in (("all", 5), ("online or flapping", 4)):
            rows, counted = selectors.read_page(session, parse(text), search="", after="d-b", limit=2)
            assert (rows[0].id, counted) == ("d-c", total)
            assert selectors.read_page(session, parse(text), search="", after="d-z", limit=2) == ([], total)
        rows, total = selectors.read_page(session, parse("all"), search="LYON", after=None, limit=10)
        assert ([row.id for row in rows], total) == (["d-a", "d-b"], 2)
        assert selectors.read_page(session, parse("all"), search="%", after=None, limit=10) == ([], 0)


@pytest.mark.parametrize(
    ("text", "error", "code", "column", "suggestion"),
    [
        ('online and labels.sit == "lyon"', Invalid, "selector.unknown_label", 12, "labels.site"),
        ('labels has "sit"', Invalid, "selector.unknown_label", 1, "labels.site"),
        ('labels["no/such"] == "x"', Invalid, "selector.unknown_label", 1, None),
        ('group in ("cameras", "lamp")', Invalid, "selector.unknown_group", 1, "lamps"),
    ],
)
def test_accept_when_a_name_is_unknown_then_points_at_it(
    fleet: Database, text: str, error: type[ShoalError], code: str, column: int, suggestion: str | None
) -> None:
    with fleet.reading() as session, pytest.raises(error) as caught:
        selectors.accept(session, text)
    assert caught.value.code == code
    assert (caught.value.facts["column"], caught.value.facts["suggestion"]) == (column, suggestion)


def test_accept_when_only_an_enrolment_token_has_the_label_then_is_known(fleet: Database) -> None:
    now = utc_now()
    with fleet.transaction() as session:
        session.add(
            EnrollmentTokenRow(
                name="",
                secret_digest="x",
                labels={"rack": "1"},
                max_uses=1,
                created_by="test",
                created_at=now,
                expires_at=now,
            )
        )
        session.flush()
        assert str(selectors.accept(session, 'labels.rack == "1"')) == 'labels.rack == "1"'


def test_accept_for_work_when_a_named_device_is_not_active_then_is_refused(fleet: Database) -> None:
    with fleet.reading() as session:
        assert str(selectors.accept_for_work(session, "id in (d-a, d-e)")) == "id in (d-a, d-e)"
        with pytest.raises(NotFound) as caught:
            selectors.accept_for_work(session, "id in (d-a, d-b)")
        assert caught.value.facts["missing"] == ["d-b"]
        assert [device.id for device in selectors.select_devices(session, "id in (d-a, d-b, d-none)")] == ["d-a"]


def test_attributes_when_a_device_changes_then_are_those_of_a_new_one(fleet: Database) -> None:
    with fleet.transaction() as session:
        device = session.get_one(DeviceRow, "d-a")
        device.facts = {"hostname": "other", "isa": ["avx2"]}
        device.labels = {"site": "bonn"}
        device.reported = {}
        session.flush()
        assert ids(session, 'labels.site == "bonn" and facts.isa has "avx2"') == ["d-a"]
        new = add_device(
            session, "d-f", facts=device.facts, labels=device.labels, reported={}, agent_version=device.agent_version
        )
        assert _attributes(session, device.number) == _attributes(session, new.number)
        session.execute(delete(DeviceTextRow).where(DeviceTextRow.path.startswith("facts")))
        device.facts = {**device.facts, "cpu_cores": 4}
        session.flush()
        assert _attributes(session, device.number) - _attributes(session, new.number) == {
            ("facts.cpu_cores", 4.0),
            ("facts.hostname", "other"),
            ("facts.isa", "avx2"),
        }


def _attributes(session: Session, number: int) -> set[tuple[str, Any]]:
    return {
        (row.path, row.value)
        for table in (DeviceTextRow, DeviceNumberRow)
        for row in session.scalars(select(table).where(table.device == number))
    }


def test_attributes_when_the_transaction_fails_then_are_as_before(fleet: Database) -> None:
    with pytest.raises(ZeroDivisionError), fleet.transaction() as session:
        session.get_one(DeviceRow, "d-a").labels = {"site": "bonn"}
        session.flush()
        raise ZeroDivisionError
    with fleet.reading() as session:
        assert ids(session, 'labels.site == "lyon"') == ["d-a"]


def test_fields_when_listed_then_name_labels_and_values_that_occur(fleet: Database) -> None:
    with fleet.reading() as session:
        known = {one.path: one for one in selectors.fields(session)}
    assert known["labels"].type == "map"
    assert sorted(known["labels"].values) == ["a/b", "in", "ring", "site"]
    assert sorted(known["labels.ring"].values) == ["%", "1.0", "lyon"]
    assert known['labels["a/b"]'].values == ["lyon"]
    assert known["state"].values == ["pending", "active", "suspended", "retired"]
    assert known["group"].values == ["cameras", "lamps"]
    assert known["facts.isa"].type == "list"
    assert known["serves.digits"].type == "number"
    assert known["facts.memory_bytes"].values == []


def test_export_when_a_cell_would_be_a_formula_then_has_an_apostrophe(fleet: Database) -> None:
    with fleet.transaction() as session:
        session.get_one(DeviceRow, "d-a").labels = {"site": "=1+1", "plus": "+", "mail": "@", "minus": "-1"}
    lines = b"".join(export.csv_of(fleet, parse("id in (d-a, d-c)"))).decode().splitlines()
    assert lines[0].startswith("id,state,online,flapping,labels.mail,labels.minus,labels.plus,labels.ring,labels.site,")
    assert lines[1].startswith("d-a,active,true,false,'@,'-1,'+,,'=1+1,lyon,,,2147483648,")
    assert lines[2].startswith('d-c,retired,true,true,,,,%,"say ""x""",é,,,,')
    assert len(lines) == 3


def test_export_when_json_then_is_one_array_of_what_is_meant(fleet: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_BATCH", 2)
    found = json.loads(b"".join(export.json_of(fleet, parse("all"))))
    assert [one["id"] for one in found] == list(FLEET)
    assert found[0]["serves"] == {"digits": 2}
    assert json.loads(b"".join(export.json_of(fleet, parse("not all")))) == []
