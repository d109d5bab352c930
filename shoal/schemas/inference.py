"""Inference over REST, in the bodies of the Open Inference Protocol v2."""

from typing import Any

from pydantic import Field

from shoal.schemas.common import Request, Response


class InferInput(Request):
    """One input tensor as nested or flat JSON numbers."""

    name: str = Field(max_length=128)
    shape: list[int] = Field(max_length=8)
    datatype: str = Field(max_length=8)
    data: list[Any]


class InferRequest(Request):
    """`POST /v1/inference/models/{model}/versions/{version}/infer?variant=ID`."""

    id: str = Field(default="", max_length=64)
    inputs: list[InferInput] = Field(min_length=1, max_length=16)


class InferAnswer(Response):
    """What the controller's own runner answered."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[dict[str, Any]]
