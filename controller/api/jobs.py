"""`/v1/jobs`, `/v1/compressions`: what runs on Ray."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing, room
from controller.api.pagination import Wanted, page
from controller.errors import NotFound
from controller.jobs.tables import JobRow
from shoal.schemas.common import Page
from shoal.schemas.jobs import CompressionRequest, Job

router = APIRouter(tags=["jobs"])


@router.post("/compressions", status_code=202)
def create_compression(body: CompressionRequest, caller: Changer, session: Writing) -> Job:
    """Start a job that makes variants of a version."""
    job = Job.model_validate(room("compression").create(session, body, caller.name))
    audit.note(session, actor=caller.name, action="compression.create", subject=job.id)
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
    row = session.get(JobRow, job_id)
    if row is None:
        raise NotFound("job.not_found", "There is no such job.")
    return Job.model_validate(row)
