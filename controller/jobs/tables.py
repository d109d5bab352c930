"""Rows of what runs on Ray."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class JobRow(Base):
    """A job. What it finished so far stands in rows, so that running it again skips that."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]  # compress, evaluate
    state: Mapped[str] = mapped_column(index=True)  # controller.jobs.states.JobState
    subject: Mapped[str] = mapped_column(index=True)  # what it is about, e.g. digits/1
    spec: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]
    progress: Mapped[float] = mapped_column(default=0.0)  # 0..1
    message: Mapped[str] = mapped_column(default="")  # what it is doing now, or why it ended
    code: Mapped[str] = mapped_column(default="")
    attempt: Mapped[int] = mapped_column(default=0)
    remaining_s: Mapped[float | None]
    kept: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what later attempts and units need, by name
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobLineRow(Base):
    """A line of a job's log, counted from 1; only the newest are kept."""

    __tablename__ = "job_lines"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    level: Mapped[str]  # info, warning, error
    text: Mapped[str]


class TrialRow(Base):
    """A part of a job that has ended: what was tried, and what came of it. Never tried again by the same job."""

    __tablename__ = "trials"
    __table_args__ = (UniqueConstraint("job_id", "key"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    key: Mapped[str]
    recipe: Mapped[str]
    steps: Mapped[list[Any]]
    runtime: Mapped[str]
    state: Mapped[str]  # controller.jobs.states.TrialState
    code: Mapped[str]
    message: Mapped[str]
    figures: Mapped[dict[str, Any]]
    artifacts: Mapped[dict[str, Any]]  # digests by what they are: model, golden, program, weights
    variant_id: Mapped[str | None]
    created_at: Mapped[datetime]
