"""Jobs as rows: wanted, begun, reported on, ended. What a job does is its kind's business (`runner`, `work`).

An attempt writes only while it is the row's own: what comes late from an attempt that another has replaced changes
nothing.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.db import utc_now
from controller.jobs.states import MAX_ATTEMPTS, JobState, may_begin, move
from controller.jobs.tables import JobRow

_OPEN = (JobState.QUEUED.value, JobState.RUNNING.value)


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
        created_by=actor,
        created_at=utc_now(),
    )
    session.add(row)
    session.flush()
    events.record(session, "job.created", subject=row.id, data={"kind": kind, "about": subject})
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
    return True


def running(session: Session, job_id: str, attempt: int) -> JobRow | None:
    """Give a job if this attempt of it runs still."""
    row = session.get(JobRow, job_id, with_for_update=True)
    return row if row is not None and (row.state, row.attempt) == (JobState.RUNNING, attempt) else None


def note_progress(row: JobRow, progress: float, message: str) -> None:
    """Write down how far a running job is; it never goes back."""
    row.progress = max(row.progress, min(1.0, progress))
    row.message = message[:500]


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
    row.code, row.message, row.result = code, message[:2000], dict(result or {})
    row.finished_at = utc_now()
    row.progress = 1.0 if state is JobState.SUCCEEDED else row.progress
    data = {"kind": row.kind, "about": row.subject, "state": row.state, "code": code}
    events.record(session, "job.finished", subject=row.id, data=data)
