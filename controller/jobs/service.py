"""Jobs as rows: wanted, begun, reported on, ended. What a job does is its kind's business (`runner`, `work`).

An attempt writes only while it is the row's own: what comes late from an attempt that another has replaced, or from a
job that was canceled, changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from controller import events
from controller.db import utc_now
from controller.errors import NotFound
from controller.jobs.states import MAX_ATTEMPTS, JobState, TrialState, may_begin, move
from controller.jobs.tables import JobLineRow, JobRow, TrialRow

MAX_LINES: Final = 2000  # of a job's log; the oldest go
_OPEN: Final = (JobState.QUEUED.value, JobState.RUNNING.value)
_MAX_LINE: Final = 1000
_MAX_MESSAGE: Final = 2000


def create(session: Session, *, kind: str, subject: str, spec: Mapping[str, Any], actor: str) -> JobRow:
    """Want a job; whoever runs jobs wakes at the commit.

    Args:
        kind: What the composition root knows: `compress`, `evaluate`.
        subject: What it is about, e.g. `digits/1`.
        spec: What its kind needs, as JSON.
    """
    row = JobRow(
        kind=kind,
        state=JobState.QUEUED.value,
        subject=subject,
        spec=dict(spec),
        result={},
        kept={},
        created_by=actor,
        created_at=utc_now(),
    )
    session.add(row)
    session.flush()
    events.record(session, "job.created", subject=row.id, data={"kind": kind, "about": subject})
    return row


def get(session: Session, job_id: str, *, is_changed: bool = False) -> JobRow:
    """Give a job; locked where it is going to be changed.

    Raises:
        NotFound: `job.not_found`.
    """
    row = session.get(JobRow, job_id, with_for_update=is_changed)
    if row is None:
        raise NotFound("job.not_found", "There is no such job.")
    return row


def list_open(session: Session, *, kind: str, subject: str) -> list[JobRow]:
    """Give the jobs of a kind about something that have not ended."""
    query = select(JobRow).where(JobRow.kind == kind, JobRow.subject == subject, JobRow.state.in_(_OPEN))
    return list(session.scalars(query.order_by(JobRow.id)))


def list_due(session: Session, own: Collection[str], limit: int) -> list[JobRow]:
    """Give the oldest jobs that nobody runs: queued ones, and those that a crash left running.

    Args:
        own: Ids of the jobs that this process runs.
    """
    query = select(JobRow).where(JobRow.state.in_(_OPEN), JobRow.id.not_in(own))
    return list(session.scalars(query.order_by(JobRow.id).limit(limit)))


def begin(session: Session, row: JobRow) -> bool:
    """Count an attempt; False where the attempts are used up and the job ends as `job.gave_up`."""
    if not may_begin(row.attempt):
        message = f"The controller ended {MAX_ATTEMPTS} times while it ran this job."
        finish(session, row, JobState.FAILED, code="job.gave_up", message=message)
        return False
    row.state = move(JobState(row.state), JobState.RUNNING)
    row.attempt += 1
    row.started_at = utc_now()
    row.message = "Starting."
    if row.attempt > 1:
        add_lines(session, row, [("warning", f"The controller ended meanwhile; this is attempt {row.attempt}.")])
    return True


def running(session: Session, job_id: str, attempt: int) -> JobRow | None:
    """Give a job if this attempt of it runs still."""
    row = session.get(JobRow, job_id, with_for_update=True)
    return row if row is not None and (row.state, row.attempt) == (JobState.RUNNING, attempt) else None


def list_ended(session: Session, attempts: Mapping[str, int]) -> list[str]:
    """Give those of some running attempts, by job id, that are the row's own no more: canceled, or begun anew."""
    query = select(JobRow.id, JobRow.attempt).where(JobRow.id.in_(attempts), JobRow.state == JobState.RUNNING)
    own = {job_id for job_id, attempt in session.execute(query) if attempts[job_id] == attempt}
    return [job_id for job_id in attempts if job_id not in own]


def note_progress(row: JobRow, progress: float, message: str, remaining_s: float | None = None) -> None:
    """Write down how far a running job is; it never goes back."""
    row.progress = max(row.progress, min(1.0, progress))
    row.remaining_s = remaining_s
    row.message = message[:500]


def keep(row: JobRow, name: str, value: Any) -> None:
    """Keep a value for a job's other units and attempts."""
    row.kept = {**row.kept, name: value}


def add_lines(session: Session, row: JobRow, lines: Sequence[tuple[str, str]]) -> None:
    """Write lines into a job's log: level and text each. Beyond a number the oldest go."""
    last = session.scalar(select(func.max(JobLineRow.number)).where(JobLineRow.job_id == row.id)) or 0
    now = utc_now()
    for number, (level, text) in enumerate(lines, last + 1):
        session.add(JobLineRow(job_id=row.id, number=number, at=now, level=level, text=text[:_MAX_LINE]))
    session.flush()
    oldest = last + len(lines) - MAX_LINES
    if oldest > 0:
        session.execute(delete(JobLineRow).where(JobLineRow.job_id == row.id, JobLineRow.number <= oldest))


def list_lines(session: Session, job_id: str, after: int, limit: int) -> list[JobLineRow]:
    """Give the lines of a job's log with a higher number, in their order."""
    query = select(JobLineRow).where(JobLineRow.job_id == job_id, JobLineRow.number > after)
    return list(session.scalars(query.order_by(JobLineRow.number).limit(limit)))


def add_trial(
    session: Session,
    row: JobRow,
    *,
    key: str,
    recipe: str,
    steps: Sequence[Mapping[str, Any]],
    runtime: str,
    state: TrialState,
    code: str = "",
    message: str = "",
    figures: Mapping[str, Any] | None = None,
    artifacts: Mapping[str, Any] | None = None,
    variant_id: str | None = None,
) -> TrialRow:
    """Keep how a part of a job ended; told again, the first telling stays."""
    found = session.scalar(select(TrialRow).where(TrialRow.job_id == row.id, TrialRow.key == key))
    if found is not None:
        return found
    trial = TrialRow(
        job_id=row.id,
        key=key,
        recipe=recipe,
        steps=[dict(step) for step in steps],
        runtime=runtime,
        state=state.value,
        code=code,
        message=message[:_MAX_MESSAGE],
        figures=dict(figures or {}),
        artifacts=dict(artifacts or {}),
        variant_id=variant_id,
        created_at=utc_now(),
    )
    session.add(trial)
    session.flush()
    return trial


def list_trials(session: Session, job_id: str) -> list[TrialRow]:
    """Give what a job has tried, the first ones first."""
    return list(session.scalars(select(TrialRow).where(TrialRow.job_id == job_id).order_by(TrialRow.id)))


def cancel(session: Session, row: JobRow, actor: str) -> None:
    """End a job that has not ended. Who runs it wakes at the commit and stops its workers; what they say is too late.

    Raises:
        Conflict: `job.illegal_transition`, if it has ended already.
    """
    finish(session, row, JobState.CANCELED, code="job.canceled", message=f"{actor} canceled it.", result=row.result)


def finish(
    session: Session,
    row: JobRow,
    state: JobState,
    *,
    code: str = "",
    message: str = "",
    result: Mapping[str, Any] | None = None,
) -> None:
    """End a job.

    Raises:
        Conflict: `job.illegal_transition`, if it has ended already.
    """
    row.state = move(JobState(row.state), state)
    row.code, row.message, row.result = code, message[:_MAX_MESSAGE], dict(result or {})
    row.finished_at = utc_now()
    row.remaining_s = None
    row.progress = 1.0 if state is JobState.SUCCEEDED else row.progress
    level = "info" if state is JobState.SUCCEEDED else "error" if state is JobState.FAILED else "warning"
    add_lines(session, row, [(level, f"{state.capitalize()}{f' ({code})' if code else ''}. {message}".strip())])
    data = {"kind": row.kind, "about": row.subject, "state": row.state, "code": code}
    events.record(session, "job.finished", subject=row.id, data=data)
