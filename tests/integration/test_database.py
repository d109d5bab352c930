"""The schema made by the migrations, transactions and waking, on both databases."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import inspect, select, text

from controller import events, migrate, observe
from controller.db import Database, utc_now
from controller.devices.tables import DeviceRow
from controller.events import EventRow, WakeUp
from controller.executions.tables import CommandRow, ExecutionRow
from controller.observe import RefusalRow
from tests.databases import make_tables


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


def test_migrations_when_selectors_are_objects_then_become_text_and_go_back(empty_database: Database) -> None:
    migrate.upgrade(empty_database, "0006")
    objects = {
        "a": '{"all": true, "device_ids": [], "labels": {}}',
        "b": '{"all": false, "device_ids": ["d-b", "d-a"], "labels": {}}',
        "c": '{"all": false, "device_ids": [], "labels": {"site": "lyon", "a/b": ""}}',
    }
    with empty_database.engine.begin() as connection:
        for command_id, selector in objects.items():
            connection.execute(
                text(
                    "INSERT INTO commands (id, name, selector, created_by, created_at) VALUES (:i, 'ping', :s, 't', 0)"
                ),
                {"i": command_id, "s": selector},
            )
    texts = {"a": "all", "b": "id in (d-a, d-b)", "c": 'labels["a/b"] == "" and labels.site == "lyon"'}
    for _ in range(2):
        migrate.upgrade(empty_database)
        with empty_database.reading() as session:
            assert {row.id: row.selector for row in session.scalars(select(CommandRow))} == texts
        migrate.downgrade(empty_database, "0006")


def test_transaction_when_it_fails_then_nothing_of_it_is_left(empty_database: Database) -> None:
    make_tables(empty_database)
    with pytest.raises(ZeroDivisionError), empty_database.transaction() as session:
        events.record(session, "device.enrolled", subject="d")
        session.flush()
        raise ZeroDivisionError
    with empty_database.reading() as session:
        assert session.scalars(select(EventRow)).all() == []


def test_transaction_when_it_ends_in_another_thread_then_the_next_one_can_write(empty_database: Database) -> None:
    """As a request's does, which the door hands from thread to thread."""
    make_tables(empty_database)

    def write(name: str) -> None:
        with empty_database.transaction() as session:
            events.record(session, name, subject="d")

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second, ThreadPoolExecutor(1) as third:
        opened = empty_database.transaction()
        events.record(first.submit(opened.__enter__).result(), "a", subject="d")
        second.submit(opened.__exit__, None, None, None).result()
        third.submit(write, "b").result(10)
        first.submit(write, "c").result(10)
    with empty_database.reading() as session:
        assert set(session.scalars(select(EventRow.name))) == {"a", "b", "c"}


def test_event_when_committed_then_wakes_who_waits(empty_database: Database) -> None:
    make_tables(empty_database)
    wake_up = WakeUp(empty_database)
    seen = wake_up.wait(-1, 0)
    with empty_database.transaction() as session:
        events.record(session, "device.enrolled", subject="d")
    assert wake_up.wait(seen, 10) > seen
    wake_up.close()


def test_refusals_when_repeated_then_are_counted_in_one_row(empty_database: Database) -> None:
    make_tables(empty_database)
    for _ in range(3):
        with empty_database.transaction() as session:
            observe.count_refusal(session, door="mqtt", device_id="", code="topic.unknown", message="m")
    with empty_database.reading() as session:
        assert [(row.code, row.count) for row in session.scalars(select(RefusalRow))] == [("topic.unknown", 3)]


def test_events_when_pruned_then_newer_ones_and_the_session_that_agents_follow_stay(
    empty_database: Database,
) -> None:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        for name in (events.SESSION_BEGUN, "device.online", "device.offline"):
            events.record(session, name, subject="d-a")
    bound = utc_now()
    time.sleep(0.002)  # the ids count milliseconds
    with empty_database.transaction() as session:
        events.record(session, "device.online", subject="d-b")
    with empty_database.transaction() as session:
        events.prune(session, bound + timedelta(milliseconds=1))
        kept = session.execute(select(EventRow.name, EventRow.subject).order_by(EventRow.id)).all()
    assert [tuple(row) for row in kept] == [(events.SESSION_BEGUN, "d-a"), ("device.online", "d-b")]
