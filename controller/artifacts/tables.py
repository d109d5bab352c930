"""Rows of what is made and shipped: artifacts, datasets, models, versions, variants, evaluations."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id


class ArtifactRow(Base):
    """Immutable bytes in the blob store. The row is written after the bytes are there and were hashed."""

    __tablename__ = "artifacts"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    created_at: Mapped[datetime]
    created_by: Mapped[str]  # user name, device id, or job id


class DatasetRow(Base):
    """Immutable rows, safetensors `x` (samples first) and `y` (integer labels), with a role."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]  # controller.artifacts.lineage.DatasetRole
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    samples: Mapped[int]
    sample_shape: Mapped[list[Any]]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class ModelRow(Base):
    """A model: a name, a task and a signature. Its weights are versions."""

    __tablename__ = "models"
    name: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str]
    input_shape: Mapped[list[Any]]  # without the batch axis
    class_labels: Mapped[list[Any]]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class VersionRow(Base):
    """One set of weights, immutable, with its lineage."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("model", "number"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    number: Mapped[int]
    source: Mapped[str]  # controller.artifacts.lineage.VersionSource
    train_program: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    eval_program: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    weights: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    lineage: Mapped[dict[str, Any]]  # what made it: run, device, datasets, settings
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class VariantRow(Base):
    """One artifact that a device can run: version x recipe x runtime, with figures measured in the cloud."""

    __tablename__ = "variants"
    __table_args__ = (UniqueConstraint("version_id", "recipe", "runtime"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    recipe: Mapped[str]  # its name: fp32, int8
    recipe_spec: Mapped[dict[str, Any]]
    runtime: Mapped[str]
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    golden_sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    size_bytes: Mapped[int]
    accuracy: Mapped[float]
    agreement: Mapped[float]  # with fp32, share of equal labels
    latency_p50_ms: Mapped[float]
    samples: Mapped[int]
    job_id: Mapped[str]
    created_at: Mapped[datetime]


class EvaluationRow(Base):
    """A version's accuracy on a dataset, measured with its evaluation program."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("weights", "dataset_id"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    weights: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    accuracy: Mapped[float]
    loss: Mapped[float]
    samples: Mapped[int]
    job_id: Mapped[str]
    created_at: Mapped[datetime]
