"""Jobs as rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.db import Database
from controller.errors import Conflict, NotFound
from controller.events import EventRow
from controller.jobs import service
from controller.jobs.states import MAX_ATTEMPTS, JobState, TrialState
from controller.jobs.tables import JobRow
from tests.databases import make_tables


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(f"sqlite:///{tmp_path / 'shoal.db'}")
    make_tables(database)
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


def test_job_when_canceled_then_has_ended_and_its_attempt_is_told_so(session: Session) -> None:
    row = new_job(session)
    service.begin(session, row)
    assert service.list_ended(session, {row.id: 1}) == []
    service.cancel(session, service.get(session, row.id, is_changed=True), "ann")
    assert (row.state, row.code, row.message) == (JobState.CANCELED, "job.canceled", "ann canceled it.")
    assert service.list_ended(session, {row.id: 1}) == [row.id]
    assert events_of(session)[-1] == "job.finished"
    with pytest.raises(Conflict):
        service.cancel(session, row, "ann")


def test_job_when_there_is_none_then_is_not_found(session: Session) -> None:
    with pytest.raises(NotFound):
        service.get(session, "nothing")


def test_attempt_when_another_began_then_is_over(session: Session) -> None:
    row = new_job(session)
    for _ in range(2):
        service.begin(session, row)
    assert service.list_ended(session, {row.id: 1}) == [row.id]
    assert service.list_ended(session, {row.id: 2}) == []


def test_lines_when_there_are_too_many_then_the_newest_stay_and_keep_their_numbers(session: Session) -> None:
    row = new_job(session)
    for part in range(3):
        service.add_lines(session, row, [("info", f"{part} {number}") for number in range(service.MAX_LINES // 2)])
    lines = service.list_lines(session, row.id, 0, 2 * service.MAX_LINES)
    assert (len(lines), lines[0].text, lines[0].number) == (service.MAX_LINES, "1 0", service.MAX_LINES // 2 + 1)
    later = service.list_lines(session, row.id, lines[-2].number, 10)
    assert [line.number for line in later] == [lines[-1].number]


def test_line_when_it_is_long_then_is_cut(session: Session) -> None:
    row = new_job(session)
    service.add_lines(session, row, [("error", "x" * 5000)])
    assert len(service.list_lines(session, row.id, 0, 1)[0].text) == 1000


def test_trial_when_told_again_then_the_first_telling_stays(session: Session) -> None:
    row = new_job(session)
    told = [
        service.add_trial(
            session, row, key="int8/openvino", recipe="int8", steps=[], runtime="openvino", state=state, code=state
        )
        for state in (TrialState.SUCCEEDED, TrialState.FAILED)
    ]
    assert told[0] is told[1]
    assert [trial.state for trial in service.list_trials(session, row.id)] == ["succeeded"]


def test_kept_when_values_come_then_all_are_there_for_the_next_attempt(session: Session) -> None:
    row = new_job(session)
    for name in ("a", "b", "a"):
        service.keep(row, name, {"of": name})
    session.flush()
    session.refresh(row)
    assert row.kept == {"a": {"of": "a"}, "b": {"of": "b"}}
