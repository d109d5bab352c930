"""Artifacts, datasets, models, versions, variants, evaluations."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shoal.schemas.common import Name, Request, Response, Sha256

DatasetRole = Literal["calibration", "evaluation", "training", "golden"]


class Artifact(Response):
    """Immutable bytes. `POST /v1/artifacts` takes them as the raw body."""

    sha256: str
    size_bytes: int
    created_at: datetime


class SignedUrl(Response):
    """`POST /v1/artifacts/{sha256}/url`: a link that needs no login, for a while."""

    url: str
    expires_at: datetime


class DatasetRequest(Request):
    """`POST /v1/datasets`: the artifact is safetensors with `x` (samples first, float32) and `y` (int64)."""

    name: Name
    role: DatasetRole
    sha256: Sha256


class Dataset(Response):
    """Immutable rows with a role."""

    id: str
    name: str
    role: str
    sha256: str
    samples: int
    sample_shape: list[int]
    created_at: datetime


class ModelRequest(Request):
    """`POST /v1/models`."""

    name: Name
    task: Literal["classification"] = "classification"
    input_shape: list[int] = Field(min_length=1, max_length=8)
    class_labels: list[str] = Field(min_length=2, max_length=10_000)


class Model(Response):
    """A model."""

    name: str
    task: str
    input_shape: list[int]
    class_labels: list[str]
    versions: int
    created_at: datetime


class VersionRequest(Request):
    """`POST /v1/models/{model}/versions`: two exported programs and the weights, uploaded as artifacts before."""

    train_program: Sha256
    eval_program: Sha256
    weights: Sha256
    notes: str = Field(default="", max_length=2000)


class Evaluation(Response):
    """Accuracy of a set of weights on a dataset."""

    dataset: str
    accuracy: float
    loss: float
    samples: int
    created_at: datetime


class Version(Response):
    """One set of weights, with its lineage."""

    id: str
    model: str
    number: int
    source: str
    train_program: str
    eval_program: str
    weights: str
    parent: int | None
    lineage: dict[str, Any]
    evaluations: list[Evaluation]
    variants: int
    created_at: datetime
    created_by: str


class EvaluationRequest(Request):
    """`POST /v1/models/{model}/versions/{number}/evaluations`: start a job that measures the version on a dataset."""

    dataset: Name


class Variant(Response):
    """One artifact that a device can run, with the figures measured in the cloud."""

    id: str
    model: str
    version: int
    recipe: str
    runtime: str
    sha256: str
    golden_sha256: str
    size_bytes: int
    accuracy: float
    agreement: float
    latency_p50_ms: float
    samples: int
    created_at: datetime
