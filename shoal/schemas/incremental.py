"""Incremental policies and updates."""

from datetime import datetime
from typing import Any

from pydantic import Field

from shoal.schemas.common import Name, Request, Response, Selector


class MonitorSettings(Request):
    """When drift is noticed: the population stability index of the model's confidence."""

    reference_samples: int = Field(default=200, ge=50, le=100_000)
    window: int = Field(default=100, ge=20, le=100_000)
    bins: int = Field(default=5, ge=2, le=100)
    threshold: float = Field(default=0.25, gt=0, le=10)


class LearningSettings(Request):
    """What the device does then."""

    dataset: Name
    new_samples: int = Field(default=200, ge=1)
    steps: int = Field(default=300, ge=1, le=1_000_000)
    batch_new: int = Field(default=16, ge=1, le=65536)
    batch_replay: int = Field(default=16, ge=0, le=65536)
    learning_rate: float = Field(default=0.01, gt=0, le=10)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    distillation_temperature: float = Field(default=2.0, ge=0, le=100)
    max_old_accuracy_drop: float = Field(default=0.03, ge=0, le=1)
    timeout_s: float = Field(default=3600, gt=0, le=7 * 86400)


class PolicyRequest(Request):
    """`POST /v1/incremental-policies`."""

    model: Name
    selector: Selector
    replay_dataset: Name
    retention_dataset: Name
    monitor: MonitorSettings = Field(default_factory=MonitorSettings)
    learning: LearningSettings


class Policy(Response):
    """A learning policy."""

    id: str
    model: str
    selector: str
    monitor: MonitorSettings
    learning: LearningSettings
    is_active: bool
    created_by: str
    created_at: datetime


class IncrementalUpdate(Response):
    """One device's update.

    Attributes:
        evidence: The signed figures that triggered it.
        result: Accuracies before and after, measured on the device; empty before it ended.
    """

    id: str
    policy_id: str
    device_id: str
    model: str
    base_version: int
    result_version: int | None
    state: str
    execution_id: str | None
    evidence: dict[str, Any]
    result: dict[str, Any]
    message: str
    created_at: datetime
    finished_at: datetime | None
