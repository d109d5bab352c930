"""Jobs and compressions."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.jobs import CompressionRequest, Job, JobLine, SensitivityRequest, Trial


class Jobs:
    """`/v1/jobs`, `/v1/compressions`, `/v1/sensitivities`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def compress(self, request: CompressionRequest) -> Job:
        """Start a job that makes variants of a version."""
        return self._connection.send("POST", "/compressions", Job, request)

    def measure_sensitivity(self, request: SensitivityRequest) -> Job:
        """Start a job that measures how much each layer of a version suffers from int8."""
        return self._connection.send("POST", "/sensitivities", Job, request)

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

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended."""
        return self._connection.send("POST", f"/jobs/{job_id}/cancel", Job)

    def log(self, job_id: str, *, after: int = 0, limit: int = 200) -> Page[JobLine]:
        """Give the lines of a job's log with a higher number than `after`, the oldest first."""
        return self._connection.get(f"/jobs/{job_id}/log", Page[JobLine], {"after": after, "limit": limit})

    def trials(self, job_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[Trial]:
        """Give a page of what a job has tried, in the order in which it ended."""
        return self._connection.page(f"/jobs/{job_id}/trials", Trial, {}, limit=limit, cursor=cursor)
