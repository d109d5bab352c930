"""The parts of a job as plain values: what a worker does in one go, how it ended, what is to be done now. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controller.jobs.states import JobState


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A part of a job that one worker does in one go.

    Attributes:
        key: Names it within its job.
        spec: What its worker needs beside what the kind prepared.
        share: How much of the whole job it is about, 0..1.
    """

    key: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class End:
    """How a job or a unit ended.

    Attributes:
        code: Empty where it succeeded.
    """

    state: JobState
    code: str = ""
    message: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done now.

    Attributes:
        units: That may run now, the first ones first; those that run may be among them.
        done: How much of the whole has ended, 0..1.
        end: How the job ends; None where there are units.
    """

    units: Sequence[Unit]
    done: float
    end: End | None


WHOLE: Final = Unit(key="all")
