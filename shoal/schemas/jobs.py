"""Jobs and compressions."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from shoal.schemas.common import Name, Request, Response


class Job(Response):
    """Work that the controller runs on Ray."""

    id: str
    kind: str
    state: str
    subject: str
    progress: float
    message: str
    code: str
    result: dict[str, Any]
    attempt: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RecipeRequest(Request):
    """One compression plan and the runtimes that shall run its result.

    Attributes:
        name: `fp32`: exported as it is; `int8`: static quantization, calibrated, weights per channel.
    """

    name: Literal["fp32", "int8"]
    runtimes: list[Literal["onnxruntime", "openvino"]] = Field(min_length=1)


class CompressionRequest(Request):
    """`POST /v1/compressions`: make variants of a version; answers the job."""

    model: Name
    version: int = Field(ge=1)
    recipes: list[RecipeRequest] = Field(min_length=1, max_length=16)
    calibration_dataset: Name
    evaluation_dataset: Name
    golden_dataset: Name
