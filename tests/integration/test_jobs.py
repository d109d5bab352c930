"""Jobs on a real Ray: begun once, reported on, ended by name whatever they do, begun again after a crash."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from controller import migrate
from controller.db import Database
from controller.errors import Conflict
from controller.events import WakeUp
from controller.jobs import service
from controller.jobs.runner import JobRunner
from controller.jobs.states import MAX_ATTEMPTS
from controller.jobs.tables import JobRow
from controller.jobs.work import Kind
from controller.settings import Settings
from tests.rig import wait_for


class Jobs:
    """A job runner in a thread, on a database of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = Settings(state=folder, **settings)
        self.database = Database(self.settings.resolved_database_url())
        migrate.upgrade(self.database)
        self.wake_up = WakeUp(self.database)
        self.kept: list[str] = []
        self.leads = True
        names = ("succeed", "wait", "refuse", "stumble", "vanish")
        self.kinds = {name: self._kind(name, self._keep) for name in names}
        self.kinds["unkept"] = self._kind("succeed", self._refuse_to_keep)
        self._stop = threading.Event()
        self.start()

    def start(self) -> None:
        self._stop.clear()
        self.runner = JobRunner(
            settings=self.settings,
            database=self.database,
            wake_up=self.wake_up,
            kinds=self.kinds,
            may_run=lambda: self.leads,
        )
        self._thread = threading.Thread(target=self.runner.run, args=(self._stop,))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.wake_up.notify()
        self._thread.join()

    def close(self) -> None:
        self.stop()
        self.wake_up.close()
        self.database.close()

    def create(self, kind: str, **spec: Any) -> str:
        with self.database.transaction() as session:
            return service.create(session, kind=kind, subject="test", spec={"trials": [], **spec}, actor="test").id

    def show(self, job_id: str) -> JobRow:
        with self.database.reading() as session:
            return session.get_one(JobRow, job_id)

    def ended(self, job_id: str) -> JobRow:
        wait_for(lambda: self.show(job_id).finished_at is not None, 60)
        return self.show(job_id)

    def _kind(self, function: str, keep: Callable[[Session, JobRow, Mapping[str, Any]], None]) -> Kind:
        return Kind(function=f"tests.jobkinds:{function}", prepare=self._prepare, keep=keep)

    def _prepare(self, _session: Session, row: JobRow) -> Mapping[str, Any]:
        return {**row.spec, "trials": [name for name in row.spec["trials"] if name not in self.kept]}

    def _keep(self, _session: Session, _row: JobRow, trial: Mapping[str, Any]) -> None:
        self.kept.append(trial["name"])

    def _refuse_to_keep(self, _session: Session, _row: JobRow, _trial: Mapping[str, Any]) -> None:
        raise Conflict("trial.exists", "There is one already.")


# One process has one Ray, so the tests with one of their own stand before those that share one.


def test_job_when_the_controller_stops_in_it_then_the_next_start_begins_it_again_without_what_was_kept(
    tmp_path: Path,
) -> None:
    jobs = Jobs(tmp_path / "state")
    job_id = jobs.create("wait", file=str(tmp_path / "go"))
    wait_for(lambda: jobs.kept == ["first"], 60)
    jobs.stop()
    assert jobs.show(job_id).state == "running"
    (tmp_path / "go").touch()
    jobs.start()
    row = jobs.ended(job_id)
    assert (row.state, row.attempt) == ("succeeded", 2)
    jobs.close()


def test_job_when_another_controller_leads_then_waits(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "state")
    jobs.leads = False
    job_id = jobs.create("succeed")
    jobs.wake_up.notify()
    jobs.stop()
    assert (jobs.show(job_id).state, jobs.show(job_id).message) == ("queued", "")
    jobs.leads = True
    jobs.start()
    assert jobs.ended(job_id).state == "succeeded"
    jobs.close()


def test_job_when_the_cluster_does_not_answer_then_waits_and_says_so(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "state", ray_address="nowhere://x")
    job_id = jobs.create("succeed")
    wait_for(lambda: "Ray did not start" in jobs.show(job_id).message, 60)
    assert jobs.show(job_id).state == "queued"
    jobs.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """One Ray for the tests that do not end it."""
    jobs = Jobs(tmp_path_factory.mktemp("jobs"))
    yield jobs
    jobs.close()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("refuse", "golden.failed"),
        ("stumble", "job.failed"),
        ("vanish", "job.worker_crashed"),
        ("unkept", "trial.exists"),
        ("unknown", "job.unknown_kind"),
    ],
)
def test_job_when_it_goes_wrong_then_fails_by_name_and_the_next_one_succeeds(
    shared: Jobs, kind: str, code: str
) -> None:
    failed = shared.ended(shared.create(kind, trials=["x"]))
    assert (failed.state, failed.code, bool(failed.message)) == ("failed", code, True)
    assert shared.ended(shared.create("succeed")).state == "succeeded"


def test_jobs_when_run_one_after_the_other_then_keep_their_trials_on_one_warm_worker(shared: Jobs) -> None:
    shared.kept.clear()
    ended = [shared.ended(shared.create("succeed", trials=[f"{n}a", f"{n}b"])) for n in range(3)]
    assert [job.state for job in ended] == ["succeeded"] * 3
    assert len({job.result["pid"] for job in ended}) == 1
    assert shared.kept == ["0a", "0b", "1a", "1b", "2a", "2b"]


def test_job_when_it_runs_then_its_progress_and_trials_are_rows_before_its_end(shared: Jobs, tmp_path: Path) -> None:
    shared.kept.clear()
    job_id = shared.create("wait", file=str(tmp_path / "go"))
    wait_for(lambda: shared.show(job_id).progress == 0.5, 30)
    row = shared.show(job_id)
    assert (row.state, row.message, row.attempt, shared.kept) == ("running", "Half.", 1, ["first"])
    (tmp_path / "go").touch()
    assert shared.ended(job_id).state == "succeeded"


def test_job_when_its_attempts_are_used_up_then_is_given_up(shared: Jobs) -> None:
    with shared.database.transaction() as session:
        row = service.create(session, kind="succeed", subject="test", spec={"trials": []}, actor="test")
        row.attempt = MAX_ATTEMPTS
    ended = shared.ended(row.id)
    assert (ended.state, ended.code, ended.attempt) == ("failed", "job.gave_up", MAX_ATTEMPTS)
