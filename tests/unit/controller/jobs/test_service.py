"""Jobs as rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import migrate
from controller.db import Database
from controller.errors import Conflict
from controller.events import EventRow
from controller.jobs import service
from controller.jobs.states import MAX_ATTEMPTS, JobState
from controller.jobs.tables import JobRow


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    migrate.upgrade(database)
    with database.transaction() as session:
        yield session
    database.close()


def new_job(session: Session) -> JobRow:
    return service.create(session, kind="evaluate", subject="digits/1", spec={"a": 1}, actor="admin")


def events_of(session: Session) -> list[str]:
    session.flush()
    return list(session.scalars(select(EventRow.name).order_by(EventRow.id)))


def test_job_when_created_then_is_due_and_an_event_wakes(session: Session) -> None:
    row = new_job(session)
    assert (row.state, row.attempt, row.progress, row.result) == (JobState.QUEUED, 0, 0.0, {})
    assert service.list_due(session, [], 5) == [row]
    assert events_of(session) == ["job.created"]


def test_due_when_run_by_this_process_then_is_not_listed_and_after_a_crash_it_is(session: Session) -> None:
    row = new_job(session)
    assert service.begin(session, row)
    assert service.list_due(session, [row.id], 5) == []
    assert service.list_due(session, [], 5) == [row]


def test_job_when_begun_too_often_then_gives_up_by_name(session: Session) -> None:
    row = new_job(session)
    assert [service.begin(session, row) for _ in range(MAX_ATTEMPTS + 1)] == [True] * MAX_ATTEMPTS + [False]
    assert (row.state, row.code, row.attempt) == (JobState.FAILED, "job.gave_up", MAX_ATTEMPTS)
    assert events_of(session) == ["job.created", "job.finished"]


def test_attempt_when_another_replaced_it_then_is_not_the_rows_own(session: Session) -> None:
    row = new_job(session)
    for _ in range(2):
        service.begin(session, row)
    assert service.running(session, row.id, 1) is None
    assert service.running(session, row.id, 2) is row


def test_progress_when_told_late_then_never_goes_back(session: Session) -> None:
    row = new_job(session)
    service.begin(session, row)
    for progress in (0.5, 0.2, 7.0):
        service.note_progress(row, progress, "Working.")
    assert (row.progress, row.message) == (1.0, "Working.")


def test_job_when_finished_then_stays_so(session: Session) -> None:
    row = new_job(session)
    service.begin(session, row)
    service.finish(session, row, JobState.SUCCEEDED, result={"accuracy": 1.0})
    assert (row.progress, row.result) == (1.0, {"accuracy": 1.0})
    with pytest.raises(Conflict):
        service.finish(session, row, JobState.FAILED)
    assert service.list_due(session, [], 5) == []
