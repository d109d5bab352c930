"""Rows of federated learning: runs, rounds, and the updates from which an interrupted round is summed up again."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class RunRow(Base):
    """A federated run: rounds that start from one version and make the next."""

    __tablename__ = "federated_runs"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    base_version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    result_version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    evaluation_dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    state: Mapped[str] = mapped_column(index=True)  # controller.federated.rounds.RunState
    selector: Mapped[str]
    settings: Mapped[dict[str, Any]]  # shoal.schemas.federated.TrainingSettings
    rounds_total: Mapped[int]
    message: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class RoundRow(Base):
    """One round. `weights` are what the cohort started from, `result` what came out."""

    __tablename__ = "federated_rounds"
    __table_args__ = (UniqueConstraint("run_id", "number"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[str] = mapped_column(ForeignKey("federated_runs.id"))
    number: Mapped[int]  # from 1
    state: Mapped[str]  # controller.federated.rounds.RoundState
    cohort: Mapped[list[Any]]  # device ids
    weights: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    result: Mapped[str | None] = mapped_column(ForeignKey("artifacts.sha256"))
    evaluation_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    message: Mapped[str] = mapped_column(default="")
    started_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class UpdateRow(Base):
    """One device's accepted update of a round, counted once by its execution."""

    __tablename__ = "federated_updates"
    execution_id: Mapped[str] = mapped_column(ForeignKey("executions.id"), primary_key=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("federated_rounds.id"), index=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("devices.id"))
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    examples: Mapped[int]
    loss: Mapped[float]
    duration_s: Mapped[float]
    accepted_at: Mapped[datetime]
