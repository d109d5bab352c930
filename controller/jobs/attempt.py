"""An attempt at a job that this process runs: its units at work, and what they say as rows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from controller.jobs import service
from controller.jobs.remaining import remaining_s
from controller.jobs.said import Said
from controller.jobs.tables import JobRow
from controller.jobs.units import End, Unit
from controller.jobs.work import Kind

if TYPE_CHECKING:
    from controller.jobs.ray_backend import RunningUnit


@dataclass(kw_only=True)
class Working:
    """A unit on its worker; `said` is what it reported and what is not in rows yet."""

    unit: Unit
    running: "RunningUnit"
    share: float = 0.0
    said: list[Said] = field(default_factory=list)


class Attempt:
    """An attempt.

    Attributes:
        spec: What every unit's worker gets.
        working: Units on workers, by key.
        end: How the one unit ended of a job that has no others.
        tries: How often units ended.
        done: Share of the whole that ended, as planned.
        is_changed: Whether there is something to plan anew.
    """

    def __init__(self, job_id: str, number: int, kind: Kind, spec: Mapping[str, Any], progress: float) -> None:
        self.job_id = job_id
        self.number = number
        self.kind = kind
        self.spec = spec
        self.working: dict[str, Working] = {}
        self.end: End | None = None
        self.tries: dict[str, int] = {}
        self.done = 0.0
        self.is_changed = True
        self._began_at = progress
        self._began = time.monotonic()

    def keep(self, session: Session, row: JobRow, working: Working) -> None:
        """Make rows of what a unit said."""
        message = row.message
        for one in working.said:
            if one.progress is not None:
                working.share, message = max(working.share, min(1.0, one.progress)), one.message
            if one.lines:
                service.add_lines(session, row, one.lines)
            for name, value in one.kept.items():
                service.keep(row, name, value)
            if one.trial is not None:
                self.kind.keep(session, row, one.trial)
            self.is_changed = self.is_changed or bool(one.kept) or one.trial is not None
        running = sum(other.share * other.unit.share for other in self.working.values())
        progress = min(1.0, self.done + running)
        rest = remaining_s(time.monotonic() - self._began, self._began_at, max(progress, row.progress))
        service.note_progress(row, progress, message, rest)
