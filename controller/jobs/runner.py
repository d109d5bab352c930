"""Runs the jobs that are due, in a thread of its own: the scheduler's tick never waits for Ray.

Rows are written in short transactions; a trial is a row as soon as it is reported. After a crash the rows say what to
do again: the jobs that were running are begun anew, without what they had finished.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller.db import Database
from controller.errors import ShoalError, Unavailable
from controller.events import WakeUp
from controller.jobs import service
from controller.jobs.states import JobState
from controller.jobs.tables import JobRow
from controller.jobs.work import Kind, Task
from controller.observe import FAILURES
from controller.settings import Settings

if TYPE_CHECKING:
    from controller.jobs.ray_backend import RayBackend, RunningJob, Said

_log: Final = logging.getLogger(__name__)
_REPORT_INTERVAL_S: Final = 0.2  # how often a running job is asked how far it is; its end wakes at once
_LOST: Final = frozenset({"job.worker_crashed", "job.out_of_memory"})


@dataclass(frozen=True, kw_only=True)
class _Run:
    """An attempt that this process runs; `said` is what it reported and what is not in rows yet."""

    kind: Kind
    attempt: int
    job: "RunningJob"
    said: "list[Said]" = field(default_factory=list)


class JobRunner:
    """Runs jobs while it may."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        wake_up: WakeUp,
        kinds: Mapping[str, Kind],
        may_run: Callable[[], bool],
    ) -> None:
        """Keep what it is given.

        Args:
            kinds: By the word that stands in a job's row.
            may_run: Whether this process leads: of two controllers one runs jobs.
        """
        self._settings = settings
        self._database = database
        self._wake_up = wake_up
        self._kinds = kinds
        self._may_run = may_run
        self._backend: RayBackend | None = None
        self._runs: dict[str, _Run] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then end Ray. What ran is begun again at the next start."""
        seen = 0
        try:
            while not stop.is_set():
                try:
                    self._step()
                except Exception:  # the loop's edge: a failed step is followed by the next
                    _log.exception("jobs could not be advanced")
                    FAILURES.labels(loop="jobs").inc()
                interval = _REPORT_INTERVAL_S if self._runs else self._settings.tick_interval_s
                seen = self._wake_up.wait(seen, interval)
        finally:
            self._give_up()

    def _step(self) -> None:
        if not self._may_run():
            self._give_up()  # another controller leads, and begins these jobs again
            return
        for job_id, run in list(self._runs.items()):
            if run.job.is_done():
                self._end(job_id, run)
            else:
                run.said.extend(run.job.said())
                self._keep(job_id, run)
        self._begin_due()

    def _begin_due(self) -> None:
        free = self._settings.ray_cpus - len(self._runs)
        if free < 1:
            return
        with self._database.reading() as session:
            if not service.list_due(session, list(self._runs), free):
                return
        backend = self._backend or self._start_ray()
        begun = []
        with self._database.transaction() as session:
            for row in service.list_due(session, list(self._runs), free):
                kind = self._kinds.get(row.kind)
                if kind is None:
                    message = f"This controller knows no jobs of kind {row.kind[:40]}."
                    service.finish(session, row, JobState.FAILED, code="job.unknown_kind", message=message)
                elif service.begin(session, row):
                    try:
                        begun.append((row.id, row.attempt, kind, kind.prepare(session, row)))
                    except ShoalError as error:
                        service.finish(session, row, JobState.FAILED, code=error.code, message=error.message)
        for job_id, attempt, kind, spec in begun:
            task = Task(
                spec=spec,
                blobs_url=self._settings.resolved_blobs_url(),
                state=self._settings.state.absolute(),
                allow_unisolated=self._settings.allow_unisolated,
            )
            job = backend.start(kind.function, task, self._wake_up.notify)
            self._runs[job_id] = _Run(kind=kind, attempt=attempt, job=job)

    def _start_ray(self) -> "RayBackend":
        from controller.jobs.ray_backend import RayBackend  # at the first job: it takes seconds and much memory

        self._tell_waiting("Starting Ray.")
        try:
            self._backend = RayBackend(address=self._settings.ray_address, cpus=self._settings.ray_cpus)
        except Unavailable as error:
            self._tell_waiting(error.message)
            raise
        return self._backend

    def _tell_waiting(self, message: str) -> None:
        with self._database.transaction() as session:
            for row in service.list_due(session, list(self._runs), self._settings.ray_cpus):
                service.note_progress(row, 0.0, message)

    def _keep(self, job_id: str, run: _Run) -> None:
        """Make rows of what a job said; what cannot be kept fails the job."""
        if not run.said:
            return
        try:
            with self._database.transaction() as session:
                row = service.running(session, job_id, run.attempt)
                if row is not None:
                    _keep_said(session, row, run)
        except (ShoalError, IntegrityError) as error:
            code = error.code if isinstance(error, ShoalError) else "job.not_kept"
            with self._database.transaction() as session:
                row = service.running(session, job_id, run.attempt)
                if row is not None:
                    service.finish(session, row, JobState.FAILED, code=code, message=str(error))
        run.said.clear()

    def _end(self, job_id: str, run: _Run) -> None:
        outcome, said = run.job.end()
        run.said.extend(said)
        self._keep(job_id, run)
        with self._database.transaction() as session:
            row = service.running(session, job_id, run.attempt)
            if row is not None:
                state = JobState.FAILED if outcome.code else JobState.SUCCEEDED
                service.finish(session, row, state, code=outcome.code, message=outcome.message, result=outcome.result)
        del self._runs[job_id]
        if self._backend is not None:
            self._backend.give_back(run.job, is_alive=outcome.code not in _LOST)

    def _give_up(self) -> None:
        self._runs.clear()
        if self._backend is not None:
            self._backend.close()
            self._backend = None


def _keep_said(session: Session, row: JobRow, run: _Run) -> None:
    for one in run.said:
        if one.trial is not None:
            run.kind.keep(session, row, one.trial)
        else:
            service.note_progress(row, one.progress, one.message)
