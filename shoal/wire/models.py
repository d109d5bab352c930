"""What a model takes and gives, and what is done to raw data before: the same words on both ends."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from shoal.wire.devices import ShortText

Axis = Annotated[int, msgspec.Meta(ge=-1, le=2**31)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=16_384)]
Figures = Annotated[list[float], msgspec.Meta(min_length=1, max_length=1024)]


class Task(StrEnum):
    """What a model does; says how it is scored, and how two answers of it are compared."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    DETECTION = "detection"
    ANOMALY = "anomaly"
    SEQUENCE = "sequence"


class Datatype(StrEnum):
    """Of a tensor's elements, in the words of the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"


class TensorSpec(msgspec.Struct, frozen=True):
    """A tensor of a signature.

    Attributes:
        shape: The samples' axis first; -1 where an axis is free.
    """

    name: ShortText
    datatype: Datatype
    shape: Annotated[list[Axis], msgspec.Meta(min_length=1, max_length=8)]


class Signature(msgspec.Struct, frozen=True):
    """What a model takes and gives, in the order of its file."""

    inputs: Annotated[list[TensorSpec], msgspec.Meta(min_length=1, max_length=16)]
    outputs: Annotated[list[TensorSpec], msgspec.Meta(min_length=1, max_length=16)]


class Resize(msgspec.Struct, frozen=True, tag_field="op", tag="resize"):
    """Bring an image to a size.

    Attributes:
        fit: `stretch` to exactly this; `cover`: the shorter side fits, the rest sticks out (crop follows); `letterbox`:
            the longer side fits, the rest is filled with `fill`.
        method: Of interpolation, half-pixel centres, without antialiasing for `nearest`, with it for `bilinear`.
    """

    width: Pixels
    height: Pixels
    fit: Literal["stretch", "cover", "letterbox"] = "stretch"
    method: Literal["bilinear", "nearest"] = "bilinear"
    fill: float = 0.0


class Crop(msgspec.Struct, frozen=True, tag_field="op", tag="crop"):
    """Cut the middle out of an image that is at least so large."""

    width: Pixels
    height: Pixels


class Colour(msgspec.Struct, frozen=True, tag_field="op", tag="colour"):
    """Order the channels of an RGB image, or make it grey (ITU-R BT.601)."""

    order: Literal["rgb", "bgr", "grey"]


class Scale(msgspec.Struct, frozen=True, tag_field="op", tag="scale"):
    """x * factor + offset."""

    factor: float
    offset: float = 0.0


class Normalize(msgspec.Struct, frozen=True, tag_field="op", tag="normalize"):
    """(x - mean) / std, one of each a channel (the last axis), or one for all."""

    mean: Figures
    std: Figures


class Layout(msgspec.Struct, frozen=True, tag_field="op", tag="layout"):
    """Put an image's channels last (as they come) or first; `ncw` does so for a series."""

    order: Literal["nhwc", "nchw", "nwc", "ncw"]


class Window(msgspec.Struct, frozen=True, tag_field="op", tag="window"):
    """Cut a series [time, channels] into windows of `length`, each `step` after the one before; each is a sample."""

    length: Pixels
    step: Pixels


PreprocessingStep = Resize | Crop | Colour | Scale | Normalize | Layout | Window
# Done in this order to raw images (uint8 [height, width, 3], RGB, any size) or series (float32 [time, channels]).
Preprocessing = Annotated[list[PreprocessingStep], msgspec.Meta(max_length=16)]
