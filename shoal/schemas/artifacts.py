"""Artifacts, datasets, models, versions, variants, evaluations."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shoal.schemas.common import Name, Request, Response, Sha256
from shoal.schemas.signatures import Preprocessing, Signature
from shoal.wire.models import Task

DatasetRole = Literal["calibration", "evaluation", "training", "golden"]
DatasetFormat = Literal["safetensors", "npz", "parquet", "images"]


class Artifact(Response):
    """Immutable bytes. `POST /v1/artifacts` takes them as the raw body."""

    sha256: str
    size_bytes: int
    created_at: datetime


class SignedUrl(Response):
    """`POST /v1/artifacts/{sha256}/url`: a link that needs no login, for a while."""

    url: str
    expires_at: datetime


class TensorShape(Response):
    """A tensor of a data set; `shape` is of one sample."""

    datatype: str
    shape: list[int]


class DatasetRequest(Request):
    """`POST /v1/datasets`, `POST /v1/dataset-imports`: make an uploaded artifact a data set.

    safetensors: `x`, or `x.<input>` for each of several inputs, samples first; `y`, or `y.<name>`, where the role needs
    what is expected. Other formats are converted into it by a job: `npz` without pickle, `parquet` (columns), `images`
    (a zip of folders, one a class, in the order of `class_labels`, or of the folders' names).
    """

    name: Name
    role: DatasetRole
    sha256: Sha256
    format: DatasetFormat = "safetensors"
    label_column: str | None = Field(default=None, max_length=128)
    class_labels: list[str] = Field(default=[], max_length=10_000)
    model: Name | None = None  # whose signature the samples must fit; images are prepared as it declares


class Dataset(Response):
    """Immutable rows with a role.

    Attributes:
        format: Of what was uploaded.
        source_sha256: Of what was uploaded, where it was converted.
    """

    id: str
    name: str
    role: str
    sha256: str
    samples: int
    tensors: dict[str, TensorShape]
    format: str
    source_sha256: str | None
    created_at: datetime
    created_by: str


class ModelRequest(Request):
    """`POST /v1/models`.

    Attributes:
        signature: None: what its first version turns out to take and give.
    """

    name: Name
    task: Task = Task.CLASSIFICATION
    signature: Signature | None = None
    preprocessing: Preprocessing = Field(default=[])
    class_labels: list[str] = Field(default=[], max_length=10_000)
    licence: str = Field(default="", max_length=128, description="An SPDX expression, such as Apache-2.0.")


class Model(Response):
    """A model."""

    name: str
    task: str
    signature: Signature | None
    preprocessing: list[dict[str, Any]]
    class_labels: list[str]
    licence: str
    versions: int
    created_at: datetime


class VersionRequest(Request):
    """`POST /v1/models/{model}/versions`: exported programs with the weights, or one ready-made file; uploaded before.

    Attributes:
        format: `program` needs `eval_program` and `weights`, and `train_program` for all that learns; any other needs
            `file`. An `openvino` file is a zip of `model.xml` and `model.bin`.
    """

    format: Literal["program", "onnx", "tflite", "torchscript", "ptl", "pte", "openvino", "eim"] = "program"
    train_program: Sha256 | None = None
    eval_program: Sha256 | None = None
    weights: Sha256 | None = None
    file: Sha256 | None = None
    notes: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _all_of_its_format(self) -> Self:
        parts = (self.train_program, self.eval_program, self.weights)
        if self.format == "program" and (self.file or not self.eval_program or not self.weights):
            raise ValueError("a program has eval_program and weights, and no file")
        if self.format != "program" and (not self.file or any(parts)):
            raise ValueError(f"{self.format} is one file, and no programs and weights")
        return self


class Evaluation(Response):
    """Accuracy of a set of weights on a dataset."""

    dataset: str
    accuracy: float
    loss: float
    samples: int
    created_at: datetime


class Version(Response):
    """One set of weights, with its lineage.

    Attributes:
        state: `checking`, `ready`, `refused` (then `code` and `message` say why); only a ready one is used.
        inspection: What was found in it: the file's own tensors, the runtime that opened it.
    """

    id: str
    model: str
    number: int
    source: str
    format: str
    state: str
    code: str
    message: str
    inspection: dict[str, Any]
    train_program: str | None
    eval_program: str | None
    weights: str | None
    file: str | None
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
    """One artifact that a device can run, with the figures measured in the cloud.

    Attributes:
        accuracy: The task's score on the evaluation set, higher is better (`shoal.runtimes.scores`).
        agreement: With the version's own answers.
        figures: The others: latency_p95_ms, peak_memory_bytes, sensitivity, ...
        lineage: Data sets, libraries and code that made it.
    """

    id: str
    model: str
    version: int
    recipe: str
    runtime: str
    sha256: str
    golden_sha256: str
    size_bytes: int
    format: str
    accuracy: float
    agreement: float
    latency_p50_ms: float
    samples: int
    figures: dict[str, Any]
    recipe_steps: list[dict[str, Any]]
    lineage: dict[str, Any]
    created_at: datetime


class LineageNode(Response):
    """Something in the lineage of a model: a version, a variant, a data set, a run, a device.

    Attributes:
        id: `version:3`, `variant:<id>`, `dataset:<name>`, `run:<id>`, `job:<id>`, `device:<id>`, and
            `local-dataset:<name>` for one that is on devices only.
        figures: The few that a person wants to see beside it.
    """

    id: str
    kind: str
    title: str
    figures: dict[str, Any]
    created_at: datetime | None
    created_by: str


class LineageEdge(Response):
    """`source` went into `target`, as what `role` says: parent, calibration, evaluation, golden, training, made."""

    source: str
    target: str
    role: str


class Lineage(Response):
    """`GET /v1/models/{model}/lineage`: where everything of a model comes from."""

    nodes: list[LineageNode]
    edges: list[LineageEdge]
