"""Federated runs."""

from datetime import datetime

from pydantic import Field

from shoal.schemas.common import Name, Request, Response, Selector


class TrainingSettings(Request):
    """How each device trains in a round: SGD with momentum on cross-entropy."""

    dataset: Name
    local_epochs: int = Field(default=2, ge=1, le=1000)
    batch_size: int = Field(default=32, ge=1, le=65536)
    learning_rate: float = Field(default=0.05, gt=0, le=10)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
    round_timeout_s: float = Field(default=600, gt=0, le=86400)
    min_updates: int = Field(default=1, ge=1)


class FederatedRunRequest(Request):
    """`POST /v1/federated-runs`."""

    model: Name
    version: int = Field(ge=1)
    selector: Selector
    rounds: int = Field(default=10, ge=1, le=10_000)
    evaluation_dataset: Name
    training: TrainingSettings


class Round(Response):
    """One round; `accuracy` comes a moment after the round has closed."""

    number: int
    state: str
    cohort: int
    updates: int
    examples: int
    loss: float | None
    accuracy: float | None
    duration_s: float | None
    message: str
    started_at: datetime
    closed_at: datetime | None


class FederatedRun(Response):
    """A federated run."""

    id: str
    model: str
    base_version: int
    result_version: int | None
    state: str
    rounds_total: int
    rounds_closed: int
    baseline_accuracy: float | None
    accuracy: float | None
    message: str
    created_by: str
    created_at: datetime
    finished_at: datetime | None
    rounds: list[Round]
