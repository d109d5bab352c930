"""The schema made by the migrations, transactions and waking, on both databases."""

import pytest
from sqlalchemy import inspect, select, text

from controller import events, migrate, observe
from controller.db import Database
from controller.devices.tables import DeviceRow
from controller.events import EventRow, WakeUp
from controller.executions.tables import ExecutionRow
from controller.observe import RefusalRow


def test_migrations_when_applied_twice_then_tables_are_those_of_the_code(empty_database: Database) -> None:
    migrate.upgrade(empty_database)
    migrate.upgrade(empty_database)
    assert migrate.differences(empty_database) == []


def test_migrations_when_taken_back_then_no_table_is_left(empty_database: Database) -> None:
    migrate.upgrade(empty_database)
    migrate.downgrade(empty_database, "base")
    assert set(inspect(empty_database.engine).get_table_names()) <= {"alembic_version"}


def test_migrations_when_there_is_a_fleet_already_then_it_is_kept_up_and_down(empty_database: Database) -> None:
    migrate.upgrade(empty_database, "0003")
    with empty_database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO devices (id, public_key, state, labels, facts, facts_session, facts_sequence, online, "
                "session, boot_id, agent_version, reported, reported_session, reported_sequence, "
                "certificate_expires_at, enrollment_token_id, enrolled_at) "
                "VALUES ('d-a', :key, 'active', '{}', '{}', 0, 0, :online, 7, '', '', '{}', 0, 0, 0, 't', 0)"
            ),
            {"key": b"k", "online": False},
        )
        connection.execute(
            text(
                "INSERT INTO executions (id, kind, device_id, owner_id, state, attempt, max_attempts, spec, "
                "sent_timeout_s, progress_timeout_s, waiting_for, progress, code, message, result, report_session, "
                "report_sequence, created_at, updated_at) VALUES ('e', 'federated_round', 'd-a', 'r', 'queued', 0, 3, "
                "'{}', 1, 1, '{}', 0, '', '', '{}', 0, 0, 5, 5)"
            )
        )
    migrate.upgrade(empty_database)
    with empty_database.reading() as session:
        row = session.get_one(ExecutionRow, "e")
        assert row.deadline_at == row.expires_at
        assert session.get_one(DeviceRow, "d-a").session == 7
    migrate.downgrade(empty_database, "0003")
    with empty_database.engine.connect() as connection:
        assert connection.scalar(text("SELECT session FROM devices")) == 7
        assert connection.scalar(text("SELECT device_id FROM executions")) == "d-a"


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
