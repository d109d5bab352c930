"""`/jobs`: what the controller runs on Ray."""

from datetime import UTC, datetime
from typing import Any, Final

from dashboard import format, wording
from dashboard.components import table
from dashboard.components.layout import heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.common import Page as PageOf
from shoal.schemas.jobs import Job

JOB_COLUMNS: Final = (
    Column(name="at", label="Asked"),
    Column(name="kind", label="Kind"),
    Column(name="subject", label="About"),
    Column(name="state", label="State"),
    Column(name="progress", label="Progress"),
    Column(name="message", label="Says", is_long=True),
    Column(name="took", label="Took", is_number=True),
    Column(name="attempt", label="Attempt", is_number=True),
    Column(name="by", label="By"),
)
OPEN: Final = frozenset({"queued", "running"})
_SIZE: Final = 50


def job_row(job: Job, now: datetime) -> dict[str, Any]:
    """Give a job as a row of `JOB_COLUMNS`."""
    took = None if job.started_at is None else ((job.finished_at or now) - job.started_at).total_seconds()
    model, _, number = job.subject.rpartition("/")
    is_version = bool(model) and number.isdigit()
    return {
        "id": job.id,
        "at": table.link(format.age(job.created_at, now), f"/jobs/{job.id}", title=job.id),
        "kind": job.kind,
        "subject": table.link(job.subject, f"/models/{model}?version={number}") if is_version else job.subject,
        "state": table.state(job.state),
        "progress": table.progress(job.progress, of=job.state),
        "message": table.noted(job.message, job.code) if job.code else job.message,
        "took": table.noted(format.duration(took), wording.remaining(job.remaining_s if job.state in OPEN else None)),
        "attempt": str(job.attempt),
        "by": job.created_by,
    }


def job_list(page: Page) -> None:
    """Draw the page."""
    _List(page).begin()


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        with heading("Jobs"):
            pass
        with section("On Ray", hint="compressions, evaluations, inspections and imports, newest first", test_id="jobs"):
            nothing = "No job has run yet. Compress a version on its model's page."
            self._table = Table(JOB_COLUMNS, nothing=nothing, test_id="job-table")
            self._pager = Pager[Job](size=_SIZE, on_move=self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[Job]:
        return client.jobs.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[Job]) -> None:
        now = datetime.now(UTC)
        self._table.show([job_row(job, now) for job in found.items])
        self._pager.show(found)
