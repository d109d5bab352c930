"""Runs the jobs that are due, in a thread of its own: the scheduler's tick never waits for Ray.

A job is one unit of work or several, each on a worker; of all units together as many run as there are processors for
it. Rows are written in short transactions; a trial is a row as soon as it is reported. After a crash the rows say what
to do again: the jobs that were running are begun anew, without what they had finished.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller.db import Database
from controller.errors import ShoalError, Unavailable
from controller.events import WakeUp
from controller.jobs import service
from controller.jobs.attempt import Attempt, Working
from controller.jobs.states import MAX_UNIT_ATTEMPTS, JobState
from controller.jobs.tables import JobRow
from controller.jobs.units import WHOLE, End, Plan, Unit
from controller.jobs.work import Kind, Task
from controller.observe import FAILURES
from controller.settings import Settings

if TYPE_CHECKING:
    from controller.jobs.ray_backend import RayBackend

_log: Final = logging.getLogger(__name__)
_REPORT_INTERVAL_S: Final = 0.2  # how often running units are asked how far they are; an end wakes at once
_LOST: Final = frozenset({"job.worker_crashed", "job.out_of_memory"})


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
        self._attempts: dict[str, Attempt] = {}

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
                interval = _REPORT_INTERVAL_S if self._attempts else self._settings.tick_interval_s
                seen = self._wake_up.wait(seen, interval)
        finally:
            self._give_up()

    def _step(self) -> None:
        if not self._may_run():
            self._give_up()  # another controller leads, and begins these jobs again
            return
        self._drop_ended()
        for attempt in list(self._attempts.values()):
            self._hear(attempt)
        self._begin_due()
        for attempt in sorted(self._attempts.values(), key=lambda attempt: len(attempt.working)):
            self._go_on(attempt)

    def _drop_ended(self) -> None:
        """Stop the units of jobs that were canceled."""
        if not self._attempts:
            return
        with self._database.reading() as session:
            numbers = {job_id: attempt.number for job_id, attempt in self._attempts.items()}
            ended = service.list_ended(session, numbers)
        for job_id in ended:
            for working in self._attempts.pop(job_id).working.values():
                if self._backend is not None:
                    self._backend.stop(working.running)

    def _hear(self, attempt: Attempt) -> None:
        """Make rows of what a job's units said, and of those that ended."""
        for working in list(attempt.working.values()):
            if working.running.is_done():
                end, said = working.running.end()
                working.said.extend(said)
                self._keep(attempt, working)
                self._close(attempt, working, end)
            else:
                working.said.extend(working.running.said())
                self._keep(attempt, working)

    def _keep(self, attempt: Attempt, working: Working) -> None:
        """Make rows of what a unit said; what cannot be kept fails the job."""
        if not working.said:
            return
        try:
            with self._database.transaction() as session:
                row = service.running(session, attempt.job_id, attempt.number)
                if row is not None:
                    attempt.keep(session, row, working)
        except (ShoalError, IntegrityError) as error:
            code = error.code if isinstance(error, ShoalError) else "job.not_kept"
            self._fail(attempt, End(state=JobState.FAILED, code=code, message=str(error)))
        working.said.clear()

    def _close(self, attempt: Attempt, working: Working, end: End) -> None:
        """Note that a unit ended. One whose worker was lost is worked on once more."""
        unit = working.unit
        is_lost = end.code in _LOST
        del attempt.working[unit.key]
        if self._backend is not None:
            self._backend.give_back(working.running, is_alive=not is_lost)
        attempt.tries[unit.key] = attempt.tries.get(unit.key, 0) + 1
        with self._database.transaction() as session:
            row = service.running(session, attempt.job_id, attempt.number)
            if row is None:
                return
            if is_lost and attempt.tries[unit.key] < MAX_UNIT_ATTEMPTS:
                service.add_lines(session, row, [("warning", f"{end.message} It is begun once more.")])
                attempt.spec, attempt.is_changed = attempt.kind.prepare(session, row), True
                return
            attempt.is_changed = True
            if attempt.kind.steps is None:
                attempt.end = end
            else:
                attempt.kind.steps.close(session, row, unit, end)

    def _begin_due(self) -> None:
        free = self._settings.ray_cpus - len(self._attempts)
        if free < 1:
            return
        with self._database.reading() as session:
            if not service.list_due(session, list(self._attempts), free):
                return
        if self._backend is None:
            self._start_ray()
        with self._database.transaction() as session:
            for row in service.list_due(session, list(self._attempts), free):
                kind = self._kinds.get(row.kind)
                if kind is None:
                    message = f"This controller knows no jobs of kind {row.kind[:40]}."
                    service.finish(session, row, JobState.FAILED, code="job.unknown_kind", message=message)
                elif service.begin(session, row):
                    try:
                        spec = kind.prepare(session, row)
                    except ShoalError as error:
                        service.finish(session, row, JobState.FAILED, code=error.code, message=error.message)
                    else:
                        self._attempts[row.id] = Attempt(row.id, row.attempt, kind, spec, row.progress)

    def _go_on(self, attempt: Attempt) -> None:
        """Start what can be started of a job, and end it where nothing is left."""
        if not attempt.is_changed:
            return
        with self._database.transaction() as session:
            row = service.running(session, attempt.job_id, attempt.number)
            if row is None:
                return
            try:
                plan = _plan(session, row, attempt)
            except ShoalError as error:
                plan = Plan(units=[], done=0.0, end=End(state=JobState.FAILED, code=error.code, message=error.message))
            attempt.done = plan.done
            todo = [unit for unit in plan.units if unit.key not in attempt.working]
            if plan.end is not None and not attempt.working:
                end = plan.end
                service.finish(session, row, end.state, code=end.code, message=end.message, result=end.result)
                del self._attempts[attempt.job_id]
                return
            spec = {**attempt.spec, "kept": row.kept}
        free = self._settings.ray_cpus - sum(len(other.working) for other in self._attempts.values())
        for unit in todo[: max(0, free)]:
            self._start(attempt, unit, spec)
        attempt.is_changed = len(todo) > max(0, free)

    def _start(self, attempt: Attempt, unit: Unit, spec: Mapping[str, Any]) -> None:
        if self._backend is None:
            raise Unavailable("ray.not_started", "Ray is not running.")
        task = Task(
            spec={**spec, **unit.spec},
            blobs=self._settings.blobs_at(),
            state=self._settings.state.absolute(),
            allow_unisolated=self._settings.allow_unisolated,
        )
        running = self._backend.start(attempt.kind.function, task, self._wake_up.notify)
        attempt.working[unit.key] = Working(unit=unit, running=running)

    def _fail(self, attempt: Attempt, end: End) -> None:
        with self._database.transaction() as session:
            row = service.running(session, attempt.job_id, attempt.number)
            if row is not None:
                service.finish(session, row, end.state, code=end.code, message=end.message)

    def _start_ray(self) -> None:
        from controller.jobs.ray_backend import RayBackend  # at the first job: it takes seconds and much memory

        self._tell_waiting("Starting Ray.")
        try:
            self._backend = RayBackend(address=self._settings.ray_address, cpus=self._settings.ray_cpus)
        except Unavailable as error:
            self._tell_waiting(error.message)
            raise

    def _tell_waiting(self, message: str) -> None:
        with self._database.transaction() as session:
            for row in service.list_due(session, list(self._attempts), self._settings.ray_cpus):
                service.note_progress(row, 0.0, message)

    def _give_up(self) -> None:
        self._attempts.clear()
        if self._backend is not None:
            self._backend.close()
            self._backend = None


def _plan(session: Session, row: JobRow, attempt: Attempt) -> Plan:
    if attempt.kind.steps is not None:
        return attempt.kind.steps.plan(session, row, attempt.working.keys())
    if attempt.end is None:
        return Plan(units=[WHOLE], done=0.0, end=None)
    return Plan(units=[], done=1.0, end=attempt.end)
