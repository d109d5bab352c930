"""Rows of what is made and shipped: artifacts, datasets, models, versions, variants, evaluations."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controller.db import Base, new_id, utc_now


class ArtifactRow(Base):
    """Immutable bytes in the blob store. The row is written after the bytes are there and were hashed."""

    __tablename__ = "artifacts"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    created_at: Mapped[datetime]
    created_by: Mapped[str]  # user name, device id, or job id
    renewed_at: Mapped[datetime] = mapped_column(default=utc_now)  # when the bytes came in last; the grace counts on


class DatasetRow(Base):
    """Immutable rows with a role: safetensors `x` or `x.<input>`, `y` or `y.<name>`, samples first."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]  # controller.artifacts.lineage.DatasetRole
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    samples: Mapped[int]
    tensors: Mapped[dict[str, Any]]  # name: {datatype, shape of one sample}
    format: Mapped[str] = mapped_column(default="safetensors")  # of what was uploaded
    source_sha256: Mapped[str | None] = mapped_column(ForeignKey("artifacts.sha256"))  # that, where it was converted
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class ModelRow(Base):
    """A model: a name, a task and a signature. Its weights are versions.

    Attributes:
        signature: `shoal.wire.models.Signature`; empty until its first version was inspected, where nobody declared it.
        preprocessing: `shoal.wire.models.Preprocessing`.
    """

    __tablename__ = "models"
    name: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str]
    signature: Mapped[dict[str, Any]]
    preprocessing: Mapped[list[Any]] = mapped_column(default=list)
    class_labels: Mapped[list[Any]]
    licence: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class VersionRow(Base):
    """One set of weights, immutable, with its lineage: exported programs and weights, or one ready-made file.

    Attributes:
        state: `controller.artifacts.lineage.VersionState`; `code` and `message` say why one is refused.
        inspection: What was found in it: the file's own tensors, the runtime that opened it.
    """

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("model", "number"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    number: Mapped[int]
    source: Mapped[str]  # controller.artifacts.lineage.VersionSource
    format: Mapped[str] = mapped_column(default="program")  # shoal.schemas.artifacts.VersionRequest
    train_program: Mapped[str | None] = mapped_column(ForeignKey("artifacts.sha256"))
    eval_program: Mapped[str | None] = mapped_column(ForeignKey("artifacts.sha256"))
    weights: Mapped[str | None] = mapped_column(ForeignKey("artifacts.sha256"))
    file: Mapped[str | None] = mapped_column(ForeignKey("artifacts.sha256"))
    state: Mapped[str] = mapped_column(default="ready")
    code: Mapped[str] = mapped_column(default="")
    message: Mapped[str] = mapped_column(default="")
    inspection: Mapped[dict[str, Any]] = mapped_column(default=dict)
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
    recipe_steps: Mapped[list[Any]] = mapped_column(default=list)  # shoal.schemas.recipes.RecipeStep
    runtime: Mapped[str]
    format: Mapped[str] = mapped_column(default="onnx")
    sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    golden_sha256: Mapped[str] = mapped_column(ForeignKey("artifacts.sha256"))
    size_bytes: Mapped[int]
    accuracy: Mapped[float]
    agreement: Mapped[float]  # with the version's own answers, 0..1
    latency_p50_ms: Mapped[float]
    samples: Mapped[int]
    figures: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what else was measured
    lineage: Mapped[dict[str, Any]] = mapped_column(default=dict)  # data sets, settings, libraries that made it
    job_id: Mapped[str]
    created_at: Mapped[datetime]


class EvaluationRow(Base):
    """A version's accuracy on a dataset; `weights` are its file's where it is ready-made."""

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
