"""What a job is to those who write one: a kind, the units that its workers get, and how a worker reports.

Imported on Ray's workers too, so nothing of Ray, the database or torch is imported here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from sqlalchemy.orm import Session

from controller.jobs.states import JobState
from controller.jobs.tables import JobRow
from controller.jobs.units import End, Plan, Unit
from controller.settings import BlobsAt

Level = Literal["info", "warning", "error"]


class JobFailed(Exception):
    """A job that cannot be done, raised on a worker.

    Attributes:
        code: Stable, dotted: `program.not_loadable`.
        result: What was done all the same, for the row.
    """

    state: JobState = JobState.FAILED

    def __init__(self, code: str, message: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.result = dict(result or {})


class JobRefused(JobFailed):
    """A job that cannot be done within what was asked, or not with what is installed; nothing broke."""

    state = JobState.REFUSED


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker gets. It never touches the database: bytes come from and go to the blob store.

    Attributes:
        spec: As its kind prepared it, with the unit's own.
        blobs: What `controller.blobs.BlobStore` is made of.
        state: The folder of the controller's secrets, which no program may see.
        allow_unisolated: Open programs where the sandbox is incomplete.
    """

    spec: Mapping[str, Any]
    blobs: BlobsAt
    state: Path
    allow_unisolated: bool


class Report(Protocol):
    """How a running unit speaks."""

    def progress(self, share: float, message: str) -> None:
        """Say how far it is (0..1) and what it does now."""

    def log(self, level: Level, text: str) -> None:
        """Write a line into the job's log; beyond a rate lines are counted instead of kept."""

    def keep(self, name: str, value: Any) -> None:
        """Have a JSON value kept in the job's row, for its other units and attempts: `spec["kept"][name]`."""

    def trial(self, trial: Mapping[str, Any]) -> None:
        """Hand over a finished part, as JSON; it becomes rows at once, and another attempt skips it."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How a job of several units goes on; without it a job is one unit, and ends as that does.

    Attributes:
        plan: Reads the job's rows and says what can be done now; it is told the keys of the units that run. Its own
            decisions are pure functions.
        close: Notes that a unit has ended: what it should have made and did not, becomes rows of what went wrong, so
            that the plan does not ask for it again.
    """

    plan: Callable[[Session, JobRow, Collection[str]], Plan]
    close: Callable[[Session, JobRow, Unit, End], None]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of job, registered in the composition root.

    Attributes:
        function: `module:name` of `run(task, report) -> result`, imported on the worker alone.
        prepare: Gives the workers' spec from the row, without what earlier attempts finished.
        keep: Writes a finished trial as rows.
    """

    function: str
    prepare: Callable[[Session, JobRow], Mapping[str, Any]]
    keep: Callable[[Session, JobRow, Mapping[str, Any]], None]
    steps: Steps | None = None
