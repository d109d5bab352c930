"""Executions on both databases: sent, retried, timed out, resynchronised, and never ended twice."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.db import Database, utc_now
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.errors import Conflict, NotFound
from controller.events import EventRow, OutboxRow
from controller.executions import service
from controller.executions.service import Fault, Work
from controller.executions.states import ExecutionState, Priority
from controller.executions.tables import ExecutionRow
from shoal.wire.executions import ExecutionKind, ExecutionReport, Offer, ReportState
from tests.databases import make_tables
from tests.rows import add_device

DEVICE = "d-abcdefghijklmno2"


@pytest.fixture
def session(empty_database: Database) -> Iterator[Session]:
    make_tables(empty_database)
    with empty_database.transaction() as session:
        for device_id in (DEVICE, "d-bbbbbbbbbbbbbbb2"):
            add_device(session, device_id, online=True)
        yield session


def device_of(session: Session, device_id: str = DEVICE) -> DeviceRow:
    device = session.get(DeviceRow, device_id)
    assert device is not None
    return device


def wanted(session: Session, *, kind: ExecutionKind = ExecutionKind.FEDERATED_ROUND, **others: Any) -> ExecutionRow:
    work = Work(
        kind=kind,
        device_id=DEVICE,
        owner_id="r",
        spec={"round": 1},
        sent_timeout_s=30,
        progress_timeout_s=60,
        **others,
    )
    return service.create(session, work)


def report(row: ExecutionRow, sequence: int, state: ReportState, attempt: int = 1, code: str = "") -> ExecutionReport:
    return ExecutionReport(
        id=f"1-{sequence}",
        session=1,
        sequence=sequence,
        execution_id=row.id,
        attempt=attempt,
        state=state,
        code=code,
    )


def take(session: Session, device: DeviceRow, report: ExecutionReport, fault: Fault | None = None) -> None:
    service.on_report(session, device, report, utc_now(), judge=lambda _: fault)


def published(session: Session) -> list[str]:
    session.flush()
    return [row.kind for row in session.scalars(select(OutboxRow).order_by(OutboxRow.id))]


def later(seconds: float) -> datetime:
    return utc_now() + timedelta(seconds=seconds)


def test_create_when_device_is_online_then_is_sent_at_once(session: Session) -> None:
    row = wanted(session)
    assert (row.state, row.attempt, row.waiting_for["code"]) == ("sent", 1, "device_answer")
    assert published(session) == ["offer"]


def test_create_when_device_is_offline_then_waits_without_a_timer_until_its_birth(session: Session) -> None:
    device = device_of(session)
    device.online = False
    row = wanted(session)
    assert (row.state, row.deadline_at, row.waiting_for["code"]) == ("queued", row.expires_at, "device_offline")
    assert service.tick(session, later(1e6)) == 0
    device.online = True
    service.on_birth(session, device, [], utc_now())
    assert row.state == "sent"
    assert published(session) == ["offer"]


def test_device_when_silent_then_is_asked_again_and_at_last_timed_out(session: Session) -> None:
    row = wanted(session)
    now = utc_now()
    for _ in range(10):
        now += timedelta(hours=1)
        service.tick(session, now)
        session.flush()
    assert (row.state, row.attempt, row.code) == ("timed_out", 3, "execution.timed_out")
    assert published(session) == ["offer"] * 3


@pytest.mark.parametrize(
    ("code", "attempts", "ended_as"),
    [
        ("controller.unreachable", 5, "controller.unreachable"),
        ("artifact.no_space", 5, "artifact.no_space"),
        ("process.crashed", 3, "process.crashed"),
        ("artifact.digest_mismatch", 1, "artifact.digest_mismatch"),
        ("never.heard.of", 1, "never.heard.of"),
    ],
)
def test_failure_when_reported_then_is_tried_again_as_its_class_allows(
    session: Session, code: str, attempts: int, ended_as: str
) -> None:
    row, device, now = wanted(session, max_attempts=5), device_of(session), utc_now()
    for sequence in range(1, 12):
        failure = report(row, sequence, ReportState.FAILED, row.attempt, code=code)
        service.on_report(session, device, failure, now, judge=lambda _: None)
        session.flush()
        now += timedelta(hours=2)
        service.tick(session, now)
        session.flush()
    assert (row.state, row.attempt, row.code) == ("failed", attempts, ended_as)
    assert published(session) == ["offer"] * attempts


def test_failure_when_it_waits_for_its_next_attempt_then_says_until_when_and_why(session: Session) -> None:
    row = wanted(session)
    take(session, device_of(session), report(row, 1, ReportState.FAILED, code="process.crashed"))
    assert (row.state, row.waiting_for["code"], row.waiting_for["cause"]) == ("queued", "retry_at", "process.crashed")
    assert row.not_before is not None and row.not_before.isoformat() == row.waiting_for["at"]


def test_rejection_when_reported_then_ends_it_at_once(session: Session) -> None:
    row = wanted(session)
    take(session, device_of(session), report(row, 1, ReportState.REJECTED, code="controller.unreachable"))
    assert (row.state, row.attempt) == ("rejected", 1)


def test_second_round_when_the_device_is_at_one_then_waits_behind_it_and_follows(session: Session) -> None:
    first, second = wanted(session), wanted(session)
    assert (second.state, second.waiting_for["code"], second.waiting_for["limit"]) == ("queued", "device_busy", 1)
    take(session, device_of(session), report(first, 1, ReportState.SUCCEEDED))
    assert (first.state, second.state, published(session)) == ("succeeded", "sent", ["offer", "offer"])


def test_ping_when_the_device_trains_then_goes_beside_it(session: Session) -> None:
    wanted(session)
    assert wanted(session, kind=ExecutionKind.COMMAND).state == "sent"


def test_waiting_ones_when_a_place_is_free_then_the_higher_priority_goes_first(session: Session) -> None:
    running = wanted(session)
    low, high = wanted(session, priority=Priority.LOW), wanted(session, priority=Priority.HIGH)
    service.cancel(session, running, utc_now())
    assert (low.state, high.state) == ("queued", "sent")


def test_execution_when_its_time_is_over_then_ends_whatever_it_waits_for(session: Session) -> None:
    device = device_of(session)
    device.online = False
    row = wanted(session, expires_in_s=60.0)
    service.tick(session, later(61))
    assert (row.state, row.code) == ("timed_out", "execution.expired")
    assert "device offline" in row.message


def test_device_when_suspended_then_its_work_waits_and_goes_on_after_its_next_birth(session: Session) -> None:
    row, device = wanted(session), device_of(session)
    device.state, device.state_reason, device.online = DeviceState.SUSPENDED, "cloned", False
    service.on_state_change(session, device, utc_now())
    assert (row.state, row.waiting_for["code"], row.waiting_for["reason"]) == ("sent", "device_suspended", "cloned")
    device.state, device.online = DeviceState.ACTIVE, True
    service.on_birth(session, device, [row.id], utc_now())
    assert row.waiting_for["code"] == "device_answer"


def test_device_when_retired_then_its_work_ends_and_new_work_is_not_begun(session: Session) -> None:
    row, waiting, device = wanted(session), wanted(session), device_of(session)
    device.state = DeviceState.RETIRED
    service.on_state_change(session, device, utc_now())
    late = wanted(session)
    assert {(one.state, one.code) for one in (row, waiting, late)} == {("canceled", "device.retired")}
    assert published(session) == ["offer"]


def test_offers_when_made_then_each_has_a_higher_number(session: Session) -> None:
    row, device = wanted(session), device_of(session)
    service.on_birth(session, device, [], utc_now())
    service.cancel(session, row, utc_now())
    wanted(session)
    session.flush()
    offers = select(OutboxRow).where(OutboxRow.kind == "offer").order_by(OutboxRow.id)
    numbers = [msgspec.json.decode(row.body, type=Offer).number for row in session.scalars(offers)]
    assert numbers == [1, 2, 3]


def test_report_when_doubled_late_or_of_an_older_attempt_then_changes_nothing(session: Session) -> None:
    row, device = wanted(session), device_of(session)
    take(session, device, report(row, 2, ReportState.IN_PROGRESS))
    take(session, device, report(row, 1, ReportState.FAILED))
    take(session, device, report(row, 3, ReportState.FAILED, attempt=0))
    assert row.state == "in_progress"
    take(session, device, report(row, 4, ReportState.SUCCEEDED))
    take(session, device, report(row, 4, ReportState.SUCCEEDED))
    take(session, device, report(row, 5, ReportState.FAILED))
    session.flush()
    assert row.state == "succeeded"
    assert [event.name for event in session.scalars(select(EventRow))] == ["execution.finished"]


def test_success_when_the_result_is_judged_bad_then_the_execution_has_failed_by_name(session: Session) -> None:
    row = wanted(session)
    fault = Fault(code="update.not_finite", message="w has NaN or infinite values.")
    take(session, device_of(session), report(row, 1, ReportState.SUCCEEDED), fault)
    assert (row.state, row.code, row.result) == ("failed", "update.not_finite", {})


def test_report_when_from_another_device_then_is_refused(session: Session) -> None:
    row = wanted(session)
    with pytest.raises(NotFound):
        take(session, device_of(session, "d-bbbbbbbbbbbbbbb2"), report(row, 1, ReportState.SUCCEEDED))
    assert row.state == "sent"


def test_birth_when_sides_differ_then_offers_what_is_lacking_and_stops_what_has_ended(session: Session) -> None:
    row = wanted(session)
    service.on_birth(session, device_of(session), ["ended-long-ago"], utc_now())
    assert (row.state, row.attempt) == ("sent", 1)
    assert published(session) == ["offer", "offer", "cancel"]


def test_cancel_when_open_then_ends_it_once_and_tells_the_device(session: Session) -> None:
    row = wanted(session)
    service.cancel(session, row, utc_now())
    service.cancel(session, row, utc_now())
    assert (row.state, published(session)) == ("canceled", ["offer", "cancel"])
    with pytest.raises(Conflict):
        service.finish(session, row, ExecutionState.SUCCEEDED, now=utc_now())


def test_device_when_it_goes_offline_then_its_timers_stop(session: Session) -> None:
    row, device = wanted(session), device_of(session)
    device.online = False
    service.on_offline(session, device, utc_now())
    session.flush()
    assert service.tick(session, later(1e6)) == 0
    assert (row.state, row.waiting_for["code"]) == ("sent", "device_offline")
