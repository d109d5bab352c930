"""The fleet in counts and as a map, on both databases."""

import pytest
from sqlalchemy.orm import Session

from controller.api import fleet
from controller.auth.permissions import Role
from controller.auth.service import Caller
from controller.db import Database, utc_now
from controller.devices.tables import DeviceRow
from controller.telemetry.alerts import State
from controller.telemetry.tables import AlertRow
from shoal.schemas.devices import Health
from tests.databases import make_tables
from tests.rows import add_device

CALLER = Caller(user_id="u", name="a", role=Role.VIEWER, token_id="t")
WELL = {"healthy": 0, "alerting": 0, "flapping": 0, "offline": 0, "suspended": 0}


@pytest.fixture
def fleet_of_seven(empty_database: Database) -> Database:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        add_device(session, "d-a", labels={"site": "lyon", "a/b": "x"}, online=True)
        alerting = add_device(session, "d-b", labels={"site": "lyon"}, online=True)
        add_device(session, "d-c", labels={"site": "lyon"}, online=True, flapping=True)
        add_device(session, "d-d", labels={"site": "oslo"})
        add_device(session, "d-e", labels={"site": "oslo"}, state="suspended")
        add_device(session, "d-f", online=True)
        add_device(session, "d-g", labels={"site": "oslo"}, state="retired")
        add_alert(session, alerting, "hot", State.FIRING)
        add_alert(session, alerting, "slow", State.PENDING)
        add_alert(session, session.get_one(DeviceRow, "d-a"), "hot", State.RESOLVED)
    return empty_database


def add_alert(session: Session, device: DeviceRow, rule: str, state: State) -> None:
    session.add(
        AlertRow(
            rule=rule,
            device=device.number,
            device_id=device.id,
            kind="cpu.ratio",
            severity="warning",
            state=state,
            message="",
            since=utc_now(),
        )
    )


def test_map_when_by_a_label_then_each_device_is_counted_once_where_it_belongs(fleet_of_seven: Database) -> None:
    with fleet_of_seven.reading() as session:
        shown = fleet.show_fleet_map(CALLER, session, "site")
    assert shown.cells == [
        Health(**{**WELL, "value": "lyon", "total": 3, "healthy": 1, "alerting": 1, "flapping": 1}),
        Health(**{**WELL, "value": "oslo", "total": 2, "offline": 1, "suspended": 1}),
        Health(**{**WELL, "value": None, "total": 1, "healthy": 1}),
    ]
    assert (shown.labels, shown.hidden) == (["site", "a/b"], 0)


def test_map_when_the_label_has_an_odd_name_or_none_is_named_then_it_is_counted_too(fleet_of_seven: Database) -> None:
    with fleet_of_seven.reading() as session:
        odd, whole = fleet.show_fleet_map(CALLER, session, "a/b"), fleet.show_fleet_map(CALLER, session, None)
    assert [(cell.value, cell.total) for cell in odd.cells] == [(None, 5), ("x", 1)]
    assert [(cell.value, cell.total, cell.healthy) for cell in whole.cells] == [(None, 6, 2)]


def test_map_when_there_is_no_device_then_it_is_empty(empty_database: Database) -> None:
    make_tables(empty_database)
    with empty_database.reading() as session:
        assert fleet.show_fleet_map(CALLER, session, "site").cells == []
        assert fleet.show_fleet_map(CALLER, session, None).cells == []
        assert fleet.show_fleet(CALLER, session).total == 0
