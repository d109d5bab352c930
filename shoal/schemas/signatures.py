"""What a model takes and gives, and what is done to raw data before, in the API's bodies."""

from typing import Annotated, Any, Self

import msgspec
from pydantic import AfterValidator, Field, model_validator

from shoal.schemas.common import Request
from shoal.wire.models import Datatype
from shoal.wire.models import Preprocessing as WirePreprocessing

TensorName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_./:-]+$")]


def _preprocessing(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        meant: list[dict[str, Any]] = msgspec.to_builtins(msgspec.convert(steps, WirePreprocessing))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    return meant


# Steps of `shoal.wire.models`, each named by its `op`: `{"op": "resize", "width": 224, "height": 224}`.
Preprocessing = Annotated[list[dict[str, Any]], Field(max_length=16), AfterValidator(_preprocessing)]


class TensorSpec(Request):
    """A tensor: the samples' axis first, -1 where an axis is free."""

    name: TensorName
    datatype: Datatype
    shape: list[Annotated[int, Field(ge=-1, le=2**31)]] = Field(min_length=1, max_length=8)


class Signature(Request):
    """What a model takes and gives."""

    inputs: list[TensorSpec] = Field(min_length=1, max_length=16)
    outputs: list[TensorSpec] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        for tensors in (self.inputs, self.outputs):
            if len({tensor.name for tensor in tensors}) < len(tensors):
                raise ValueError("each tensor has a name of its own")
            if any(0 in tensor.shape for tensor in tensors):
                raise ValueError("an axis has at least 1, or is -1: free")
        return self
