"""Jobs and compressions."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shoal.schemas.common import Name, Request, Response
from shoal.schemas.recipes import Budget, Recipe, Search


class Job(Response):
    """Work that the controller runs on Ray.

    Attributes:
        state: `queued`, `running`, `succeeded`, `refused` (it could not be done within what was asked; `result` has the
            closest), `failed`, `canceled`.
        remaining_s: About how long it will still run; None where nobody can tell yet.
    """

    id: str
    kind: str
    state: str
    subject: str
    progress: float
    message: str
    code: str
    result: dict[str, Any]
    attempt: int
    remaining_s: float | None = None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobLine(Response):
    """A line of a job's log."""

    number: int
    at: datetime
    level: Literal["info", "warning", "error"]
    text: str


class Trial(Response):
    """A part of a job that was tried: a recipe for a runtime, with what came of it.

    Attributes:
        state: `succeeded`, `refused` (made and measured, but not good enough, or it cannot be made), `stopped` (cannot
            win any more), `failed`.
        figures: accuracy, size_bytes, latency_p50_ms, ... as far as measured.
        is_on_front: Whether no other trial is better in all of size, latency and accuracy.
    """

    id: str
    recipe: str
    steps: list[dict[str, Any]]
    runtime: str
    state: str
    code: str
    message: str
    figures: dict[str, Any]
    is_on_front: bool
    variant_id: str | None
    created_at: datetime


class SensitivityRequest(Request):
    """`POST /v1/sensitivities`: measure how much each layer of a version suffers from int8; nothing is made.

    The job's result has `layers`, the most sensitive first: {layer, kind, drop (of the score if only this layer is
    int8), noise, weight_bytes}; `score` of the version, and `evaluations`.
    """

    model: Name
    version: int = Field(ge=1)
    calibration_dataset: Name
    evaluation_dataset: Name


class CompressionRequest(Request):
    """`POST /v1/compressions`: make variants of a version, by recipes or by searching for them.

    Attributes:
        training_dataset: For recipes that fine-tune.
        budget: None: everything that can be made is kept, and its figures are shown.
    """

    model: Name
    version: int = Field(ge=1)
    recipes: list[Recipe] = Field(default=[], max_length=64)
    search: Search | None = None
    budget: Budget | None = None
    calibration_dataset: Name
    evaluation_dataset: Name
    golden_dataset: Name
    training_dataset: Name | None = None

    @model_validator(mode="after")
    def _recipes_or_search(self) -> Self:
        if bool(self.recipes) == (self.search is not None):
            raise ValueError("give recipes, or a search for them")
        if self.search is not None and self.budget is None:
            raise ValueError("a search needs a budget")
        return self
