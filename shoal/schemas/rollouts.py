"""Rollouts."""

from datetime import datetime
from typing import Self

from pydantic import Field, model_validator

from shoal.schemas.common import Name, Request, Response, Selector


class WaveRequest(Request):
    """How many of the devices that are left move in this wave: a count, or a share of all."""

    count: int | None = Field(default=None, ge=1)
    ratio: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.count is None) == (self.ratio is None):
            raise ValueError("give either count or ratio")
        return self


class RolloutRequest(Request):
    """`POST /v1/rollouts`. Whoever is left after the last wave moves in that wave too."""

    model: Name
    version: int = Field(ge=1)
    selector: Selector
    waves: list[WaveRequest] = Field(
        default_factory=lambda: [WaveRequest(count=1), WaveRequest(ratio=1.0)], min_length=1, max_length=100
    )
    error_ratio_limit: float = Field(default=0.0, ge=0, le=1)
    accuracy_drop_limit: float = Field(default=0.02, ge=0, le=1)


class Wave(Response):
    """One wave, counted by execution state."""

    number: int  # from 1
    state: str  # waiting, running, succeeded, failed
    devices: int
    counts: dict[str, int]


class Rollout(Response):
    """A rollout with its progress."""

    id: str
    model: str
    version: int
    state: str
    selector: str
    waves: list[Wave]
    devices: int
    succeeded: int
    failed: int
    message: str
    created_by: str
    created_at: datetime
    finished_at: datetime | None


class RolloutTarget(Response):
    """One device of a rollout."""

    device_id: str
    wave: int
    variant_id: str
    recipe: str
    runtime: str
    execution_id: str | None
    state: str
    progress: float
    waiting_for: dict[str, object]
    code: str
    message: str
    receipt_id: str | None
