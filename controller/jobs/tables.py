"""Rows of what runs on Ray."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class JobRow(Base):
    """A job. What it finished so far stands in its room's rows, so that running it again skips that."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]  # compress, evaluate
    state: Mapped[str] = mapped_column(index=True)  # controller.jobs.service.JobState
    subject: Mapped[str] = mapped_column(index=True)  # what it is about, e.g. digits/1
    spec: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]
    progress: Mapped[float] = mapped_column(default=0.0)  # 0..1
    message: Mapped[str] = mapped_column(default="")  # what it is doing now, or why it ended
    code: Mapped[str] = mapped_column(default="")
    attempt: Mapped[int] = mapped_column(default=0)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
