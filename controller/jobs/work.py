"""What a job is to those who write one: a kind, the task that its worker gets, and how the worker reports.

Imported on Ray's workers too, so nothing of Ray, the database or torch is imported here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from controller.jobs.tables import JobRow


class JobFailed(Exception):
    """A job that cannot be done, raised on a worker.

    Attributes:
        code: Stable, dotted: `program.not_loadable`.
        result: What was done all the same, for the row.
    """

    def __init__(self, code: str, message: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.result = dict(result or {})


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker gets. It never touches the database: bytes come from and go to the blob store.

    Attributes:
        spec: As its kind prepared it.
        blobs_url: Of `controller.blobs.BlobStore`.
        state: The folder of the controller's secrets, which no program may see.
        allow_unisolated: Open programs where the sandbox is incomplete.
    """

    spec: Mapping[str, Any]
    blobs_url: str
    state: Path
    allow_unisolated: bool


class Report(Protocol):
    """How a running job speaks."""

    def progress(self, share: float, message: str) -> None:
        """Say how far it is (0..1) and what it does now."""

    def trial(self, trial: Mapping[str, Any]) -> None:
        """Hand over a finished part, as JSON; it becomes rows at once, and another attempt skips it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of job, registered in the composition root.

    Attributes:
        function: `module:name` of `run(task, report) -> result`, imported on the worker alone.
        prepare: Gives the worker's spec from the row, without what earlier attempts finished.
        keep: Writes a finished trial as rows.
    """

    function: str
    prepare: Callable[[Session, JobRow], Mapping[str, Any]]
    keep: Callable[[Session, JobRow, Mapping[str, Any]], None]
