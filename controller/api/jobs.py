"""`/v1/jobs`, `/v1/compressions`, `/v1/sensitivities`: what runs on Ray, what it says meanwhile, and what it tried."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing, room
from controller.api.pagination import Wanted, page
from controller.jobs.tables import JobRow, TrialRow
from shoal.schemas.common import Page
from shoal.schemas.jobs import CompressionRequest, Job, JobLine, SensitivityRequest, Trial

router = APIRouter(tags=["jobs"])


@router.post("/compressions", status_code=202)
def create_compression(body: CompressionRequest, caller: Changer, session: Writing) -> Job:
    """Start a job that makes variants of a version, by recipes or by searching for them."""
    job = Job.model_validate(room("compression").create(session, body, caller.name))
    audit.note(session, actor=caller.name, action="compression.create", subject=job.id)
    return job


@router.post("/sensitivities", status_code=202)
def create_sensitivity(body: SensitivityRequest, caller: Changer, session: Writing) -> Job:
    """Start a job that measures how much each layer of a version suffers from int8; it makes nothing."""
    job = Job.model_validate(room("compression").measure_sensitivity(session, body, caller.name))
    audit.note(session, actor=caller.name, action="sensitivity.create", subject=job.id)
    return job


@router.get("/jobs")
def list_jobs(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    kind: Annotated[str | None, Query(max_length=64)] = None,
    state: Annotated[str | None, Query(max_length=64)] = None,
    subject: Annotated[str | None, Query(max_length=128)] = None,
) -> Page[Job]:
    """List jobs, newest first."""
    query = select(JobRow)
    for column, wanted in ((JobRow.kind, kind), (JobRow.state, state), (JobRow.subject, subject)):
        if wanted is not None:
            query = query.where(column == wanted)
    return page(session, query, JobRow.id, window, Job.model_validate)


@router.get("/jobs/{job_id}")
def show_job(job_id: str, _caller: Reader, session: Reading) -> Job:
    """Show a job."""
    return Job.model_validate(room("jobs").get(session, job_id))


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: str, caller: Changer, session: Writing) -> Job:
    """End a job that has not ended: its workers are stopped, what it has finished stays."""
    row = room("jobs").get(session, job_id, is_changed=True)
    room("jobs").cancel(session, row, caller.name)
    audit.note(session, actor=caller.name, action="job.cancel", subject=job_id)
    return Job.model_validate(row)


@router.get("/jobs/{job_id}/log")
def list_lines(
    job_id: str,
    _caller: Reader,
    session: Reading,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> Page[JobLine]:
    """Give the lines of a job's log with a higher number than `after`, the oldest first; only the newest are kept."""
    room("jobs").get(session, job_id)
    rows = room("jobs").list_lines(session, job_id, after, limit)
    return Page(items=[JobLine.model_validate(row) for row in rows])


@router.get("/jobs/{job_id}/trials")
def list_trials(job_id: str, _caller: Reader, session: Reading, window: Wanted) -> Page[Trial]:
    """List what a job has tried, in the order in which it ended."""
    room("jobs").get(session, job_id)
    on_front = room("compression").front_of(room("jobs").list_trials(session, job_id))

    def convert(row: TrialRow) -> Trial:
        names = ("id", "recipe", "steps", "runtime", "state", "code", "message", "figures", "variant_id", "created_at")
        columns = {name: getattr(row, name) for name in names}
        return Trial(**columns, is_on_front=row.id in on_front)

    query = select(TrialRow).where(TrialRow.job_id == job_id)
    return page(session, query, TrialRow.id, window, convert, is_newest_first=False)
