"""Jobs and compressions."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.jobs import CompressionRequest, Job


class Jobs:
    """`/v1/jobs`, `/v1/compressions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def compress(self, request: CompressionRequest) -> Job:
        """Start a job that makes variants of a version."""
        return self._connection.send("POST", "/compressions", Job, request)

    def list(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        subject: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """Give a page of jobs, newest first; `subject` is what a job is about, e.g. digits/1."""
        query = {"kind": kind, "state": state, "subject": subject}
        return self._connection.page("/jobs", Job, query, limit=limit, cursor=cursor)

    def show(self, job_id: str) -> Job:
        """Show a job."""
        return self._connection.get(f"/jobs/{job_id}", Job)
