"""Jobs on a real Ray: begun once, reported on, ended by name whatever they do, begun again after a crash."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.orm import Session

from controller.db import Database
from controller.errors import Conflict
from controller.events import WakeUp
from controller.jobs import service
from controller.jobs.runner import JobRunner
from controller.jobs.states import MAX_ATTEMPTS, JobState, TrialState
from controller.jobs.tables import JobRow
from controller.jobs.units import End, Plan, Unit
from controller.jobs.work import Kind, Steps
from controller.settings import Settings
from tests.cluster import cluster
from tests.databases import make_tables
from tests.rig import wait_for


class Jobs:
    """A job runner in a thread, on a database of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = Settings(state=folder, **settings)
        self.database = Database(self.settings.resolved_database_url())
        make_tables(self.database)
        self.wake_up = WakeUp(self.database)
        self.kept: list[str] = []
        self.leads = True
        names = ("succeed", "wait", "refuse", "decline", "fill", "talk", "stumble", "vanish")
        self.kinds = {name: self._kind(name, self._keep) for name in names}
        self.kinds["unkept"] = self._kind("succeed", self._refuse_to_keep)
        self.kinds["steps"] = Kind(
            function="tests.jobkinds:step", prepare=self._prepare, keep=keep_step, steps=Steps(plan=plan, close=close)
        )
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


def plan(session: Session, row: JobRow, running: Collection[str]) -> Plan:
    """Plan a unit for each name of the spec; those behind the bar wait until all before it have a trial."""
    done = {trial.key for trial in service.list_trials(session, row.id)}
    before, after = row.spec["units"], row.spec.get("then", [])
    names = before if not done >= set(before) else after
    share = 1 / len(before + after)
    units = [
        Unit(
            key=name, spec={"unit": name, "waits": name in row.spec["waits"], "folder": row.spec["folder"]}, share=share
        )
        for name in names
        if name not in done
    ]
    end = None if units or running else End(state=JobState.SUCCEEDED, result={"done": sorted(done)})
    return Plan(units=units, done=len(done) * share, end=end)


def keep_step(session: Session, row: JobRow, trial: Mapping[str, Any]) -> None:
    service.add_trial(
        session,
        row,
        key=trial["name"],
        recipe=trial["name"],
        steps=[],
        runtime="none",
        state=TrialState.SUCCEEDED,
        figures={"kept": trial["kept"]},
    )


def close(session: Session, row: JobRow, unit: Unit, end: End) -> None:
    """Make a trial of a unit that made none."""
    state = TrialState(end.state.value)
    service.add_trial(session, row, key=unit.key, recipe=unit.key, steps=[], runtime="none", state=state, code=end.code)


def lines(jobs: Jobs, job_id: str) -> list[str]:
    with jobs.database.reading() as session:
        return [line.text for line in service.list_lines(session, job_id, 0, 500)]


def figures(jobs: Jobs, job_id: str) -> dict[str, dict[str, Any]]:
    with jobs.database.reading() as session:
        return {trial.key: trial.figures for trial in service.list_trials(session, job_id)}


def node_of(pid: int, nodes: list[int]) -> int:
    """Give the node's process that a worker descends from."""
    above = {parent.pid for parent in psutil.Process(pid).parents()}
    return next(node for node in nodes if node in above)


def workers(folder: Path, unit: str) -> list[int]:
    """Give the processes that began a unit."""
    return [int(path.suffix[1:]) for path in folder.glob(f"{unit}.*")]


# One process has one Ray, so the tests with one of their own stand before those that share one.


def test_jobs_when_given_the_address_of_a_cluster_then_run_on_its_two_workers(tmp_path: Path) -> None:
    with cluster(workers=2) as (address, nodes):
        jobs = Jobs(tmp_path / "state", ray_address=address)
        try:
            job_id = jobs.create("steps", units=["a", "b"], then=["c"], waits=["a", "b"], folder=str(tmp_path))
            wait_for(lambda: workers(tmp_path, "a") and workers(tmp_path, "b"), 90)
            (first,), (second,) = workers(tmp_path, "a"), workers(tmp_path, "b")
            assert first != second
            assert {node_of(first, nodes), node_of(second, nodes)} == set(nodes)
            (tmp_path / "go").touch()
            row = jobs.ended(job_id)
            assert (row.state, row.code, row.result) == ("succeeded", "", {"done": ["a", "b", "c"]})
        finally:
            jobs.close()


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
        ("fill", "disk.full"),
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


def test_job_when_it_cannot_be_done_within_what_was_asked_then_is_refused_with_the_closest(shared: Jobs) -> None:
    row = shared.ended(shared.create("decline"))
    assert (row.state, row.code, row.result) == ("refused", "budget.not_met", {"closest": 0.8})


def test_job_when_it_has_several_units_then_they_run_at_once_and_the_next_see_what_was_kept(
    shared: Jobs, tmp_path: Path
) -> None:
    job_id = shared.create("steps", units=["a", "b"], then=["c"], waits=["a", "b"], folder=str(tmp_path))
    wait_for(lambda: workers(tmp_path, "a") and workers(tmp_path, "b"), 60)
    wait_for(lambda: shared.show(job_id).progress == pytest.approx(1 / 3), 10)
    (tmp_path / "go").touch()
    row = shared.ended(job_id)
    assert (row.state, row.progress, sorted(row.kept)) == ("succeeded", 1.0, ["a", "b", "c"])
    assert figures(shared, job_id)["c"] == {"kept": ["a", "b"]}
    assert {"a begins", "b begins", "c begins"} <= set(lines(shared, job_id))


def test_job_when_a_worker_is_killed_then_its_unit_alone_is_begun_once_more(shared: Jobs, tmp_path: Path) -> None:
    job_id = shared.create("steps", units=["a", "b"], waits=["b"], folder=str(tmp_path))
    wait_for(lambda: workers(tmp_path, "b") and "a" in figures(shared, job_id), 60)
    os.kill(workers(tmp_path, "b")[0], signal.SIGKILL)
    wait_for(lambda: len(workers(tmp_path, "b")) == 2, 60)
    (tmp_path / "go").touch()
    row = shared.ended(job_id)
    assert (row.state, row.attempt) == ("succeeded", 1)
    assert len(workers(tmp_path, "a")) == 1
    assert any("once more" in line for line in lines(shared, job_id))


def test_job_when_canceled_while_it_runs_then_its_workers_end_and_what_they_say_is_too_late(
    shared: Jobs, tmp_path: Path
) -> None:
    job_id = shared.create("steps", units=["a", "b"], waits=["a", "b"], folder=str(tmp_path))
    wait_for(lambda: workers(tmp_path, "a") and workers(tmp_path, "b"), 60)
    with shared.database.transaction() as session:
        service.cancel(session, service.get(session, job_id, is_changed=True), "admin")
    pids = [*workers(tmp_path, "a"), *workers(tmp_path, "b")]
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), 5)
    (tmp_path / "go").touch()
    row = shared.show(job_id)
    assert (row.state, row.code, figures(shared, job_id)) == ("canceled", "job.canceled", {})
    assert shared.ended(shared.create("succeed")).state == "succeeded"


def test_job_when_canceled_before_it_began_then_never_begins(shared: Jobs) -> None:
    with shared.database.transaction() as session:
        row = service.create(session, kind="vanish", subject="test", spec={}, actor="test")
        service.cancel(session, row, "admin")
    assert shared.ended(shared.create("succeed")).state == "succeeded"
    assert (shared.show(row.id).state, shared.show(row.id).attempt) == ("canceled", 0)


def test_job_when_it_talks_too_fast_then_lines_are_dropped_and_counted(shared: Jobs) -> None:
    job_id = shared.create("talk")
    shared.ended(job_id)
    said = lines(shared, job_id)
    assert said[:20] == [f"line {number}" for number in range(20)]
    assert said[20:] == ["80 lines came too fast and were dropped.", "at last", "Succeeded."]
