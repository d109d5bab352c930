"""The schema made by the migrations, transactions and waking, on both databases."""

import pytest
from sqlalchemy import inspect, select

from controller import events, migrate, observe
from controller.db import Database
from controller.events import EventRow, WakeUp
from controller.observe import RefusalRow


def test_migrations_when_applied_twice_then_tables_are_those_of_the_code(empty_database: Database) -> None:
    migrate.upgrade(empty_database)
    migrate.upgrade(empty_database)
    assert migrate.differences(empty_database) == []


def test_migrations_when_taken_back_then_no_table_is_left(empty_database: Database) -> None:
    migrate.upgrade(empty_database)
    migrate.downgrade(empty_database, "base")
    assert set(inspect(empty_database.engine).get_table_names()) <= {"alembic_version"}


def test_transaction_when_it_fails_then_nothing_of_it_is_left(empty_database: Database) -> None:
    migrate.upgrade(empty_database)
    with pytest.raises(ZeroDivisionError), empty_database.transaction() as session:
        events.record(session, "device.enrolled", subject="d")
        session.flush()
        raise ZeroDivisionError
    with empty_database.reading() as session:
        assert session.scalars(select(EventRow)).all() == []


def test_event_when_committed_then_wakes_who_waits(empty_database: Database) -> None:
    migrate.upgrade(empty_database)
    wake_up = WakeUp(empty_database)
    seen = wake_up.wait(-1, 0)
    with empty_database.transaction() as session:
        events.record(session, "device.enrolled", subject="d")
    assert wake_up.wait(seen, 10) > seen
    wake_up.close()


def test_refusals_when_repeated_then_are_counted_in_one_row(empty_database: Database) -> None:
    migrate.upgrade(empty_database)
    for _ in range(3):
        with empty_database.transaction() as session:
            observe.count_refusal(session, door="mqtt", device_id="", code="topic.unknown", message="m")
    with empty_database.reading() as session:
        assert [(row.code, row.count) for row in session.scalars(select(RefusalRow))] == [("topic.unknown", 3)]
