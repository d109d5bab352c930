"""What is done to raw data before a model sees it, as its declaration says: the one implementation for both ends.

Raw data is images (uint8 [height, width, 3] or [n, height, width, 3], RGB, of any size) or a series (float32
[time, channels]). All is computed in float32 and rounded only where the model's input has whole numbers.
Not here: decoding of image files. How images are resampled stands in `resampling`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shoal.runtimes.model import DTYPES, Array, BadModel
from shoal.runtimes.resampling import bilinear, nearest
from shoal.wire.models import (
    Colour,
    Crop,
    Datatype,
    Layout,
    Normalize,
    PreprocessingStep,
    Resize,
    Scale,
    TensorSpec,
    Window,
)

Floats = NDArray[np.float32]

RAW: Final = "raw"  # the name of an input that is still to be prepared
_MAX_ELEMENTS: Final = 64 * 2**20  # of what is prepared, 256 MiB: a small image may not be blown up without end
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_IMAGE_STEPS: Final = (Resize, Crop, Colour)
_LAYOUTS: Final = {"nhwc": 4, "nchw": 4, "nwc": 3, "ncw": 3}


def is_of_images(steps: Sequence[PreprocessingStep]) -> bool:
    """Tell whether steps are for images; else they are for a series."""
    for step in steps:
        if isinstance(step, _IMAGE_STEPS):
            return True
        if isinstance(step, Window):
            return False
        if isinstance(step, Layout):
            return _LAYOUTS[step.order] == 4
    return True


def raw_spec(steps: Sequence[PreprocessingStep]) -> TensorSpec:
    """Give what a raw input looks like."""
    if is_of_images(steps):
        return TensorSpec(name=RAW, datatype=Datatype.UINT8, shape=[-1, -1, -1, 3])
    return TensorSpec(name=RAW, datatype=Datatype.FP32, shape=[-1, -1])


def inputs_of(
    tensors: Mapping[str, Array], inputs: Sequence[TensorSpec], steps: Sequence[PreprocessingStep]
) -> dict[str, Array]:
    """Give the inputs of a model: those that came, or the one that is made of `raw`.

    Raises:
        BadModel: `input.unknown`, `input.bad_datatype`, `input.bad_shape`, `preprocessing.does_not_fit`.
    """
    if tensors.keys() != {RAW} or any(spec.name == RAW for spec in inputs):
        return dict(tensors)
    if not steps or len(inputs) != 1:
        raise BadModel("input.unknown", "Raw data is taken by a model with preprocessing and one input; not by this.")
    (spec,) = inputs
    prepared = prepare(steps, tensors[RAW])
    dtype = DTYPES[spec.datatype]
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return {spec.name: np.clip(np.rint(prepared), limits.min, limits.max).astype(dtype)}
    return {spec.name: prepared.astype(dtype, copy=False)}


def prepare(steps: Sequence[PreprocessingStep], raw: Array) -> Floats:
    """Do the steps, in their order.

    Returns:
        [samples, ...]: images [n, height, width, channels] or series [n, time, channels], in the declared layout.

    Raises:
        BadModel: `input.bad_datatype`, `input.bad_shape`, `preprocessing.does_not_fit`.
    """
    check_steps(steps)
    values = _images(raw) if is_of_images(steps) else _series(raw)
    for step in steps:
        values = _done(step, values)
    return np.ascontiguousarray(values)


def check_steps(steps: Sequence[PreprocessingStep]) -> None:
    """Refuse steps that fit no raw data, whatever comes.

    Raises:
        BadModel: `preprocessing.does_not_fit`.
    """
    axes = 4 if is_of_images(steps) else 3
    has_channels_first = is_cut = False
    for step in steps:
        if isinstance(step, Window if axes == 4 else _IMAGE_STEPS):
            raise _does_not_fit("A window cuts series; resize, crop and colour are for images.")
        if isinstance(step, Layout):
            if _LAYOUTS[step.order] != axes or has_channels_first:
                raise _does_not_fit(f"The layout {step.order} does not fit what comes to it.")
            has_channels_first = step.order in ("nchw", "ncw")
        elif has_channels_first and not isinstance(step, Scale):
            raise _does_not_fit("What looks at channels, height, width or time comes before the layout.")
        if isinstance(step, Window):
            if is_cut:
                raise _does_not_fit("A series is cut once.")
            is_cut = True
        if isinstance(step, Normalize):
            figures = np.array([*step.mean, *step.std], np.float64)
            if not np.isfinite(figures).all() or min(map(abs, step.std)) < np.finfo(np.float32).tiny:
                raise _does_not_fit("A mean is finite, and a deviation too, and not 0.")
        if isinstance(step, Scale) and not np.isfinite([step.factor, step.offset]).all():
            raise _does_not_fit("A factor and an offset are finite.")


def _images(raw: Array) -> Floats:
    if raw.dtype != np.uint8:
        raise BadModel("input.bad_datatype", f"Raw images are UINT8, not {raw.dtype}.")
    images = raw[None] if raw.ndim == 3 else raw
    if images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise BadModel(
            "input.bad_shape", f"Raw images are [height, width, 3] or [n, height, width, 3], not {raw.shape}."
        )
    return images.astype(np.float32)


def _series(raw: Array) -> Floats:
    if raw.dtype != np.float32:
        raise BadModel("input.bad_datatype", f"A raw series is FP32, not {raw.dtype}.")
    if raw.ndim != 2 or not raw.size:
        raise BadModel("input.bad_shape", f"A raw series is [time, channels], not {raw.shape}.")
    return raw[None]


def _done(step: PreprocessingStep, values: Floats) -> Floats:
    match step:
        case Resize():
            return _resized(step, values)
        case Crop():
            return _cropped(step, values)
        case Colour():
            return _coloured(step, values)
        case Scale():
            return values * np.float32(step.factor) + np.float32(step.offset)
        case Normalize():
            mean, std = (np.array(figures, np.float32) for figures in (step.mean, step.std))
            if {mean.size, std.size} - {1, values.shape[-1]}:
                raise _does_not_fit(f"Means and deviations are one, or one of each of {values.shape[-1]} channels.")
            return (values - mean) / std
        case Layout():
            return np.moveaxis(values, -1, 1) if step.order in ("nchw", "ncw") else values
        case Window():
            return _windows(step, values)


def _resized(step: Resize, images: Floats) -> Floats:
    count, height, width, channels = images.shape
    if step.fit == "stretch":
        new_height, new_width = step.height, step.width
    else:
        ratios = step.height / height, step.width / width
        ratio = max(ratios) if step.fit == "cover" else min(ratios)
        new_height, new_width = max(round(height * ratio), 1), max(round(width * ratio), 1)
    if count * channels * max(new_height, height) * max(new_width, width) > _MAX_ELEMENTS:
        raise BadModel("input.bad_shape", f"Images of {height} x {width} are too large, or become so.")
    resample = bilinear if step.method == "bilinear" else nearest
    resized = resample(images, new_height, new_width)
    if step.fit != "letterbox":
        return resized
    filled = np.full((count, step.height, step.width, channels), step.fill, np.float32)
    top, left = (step.height - new_height) // 2, (step.width - new_width) // 2
    filled[:, top : top + new_height, left : left + new_width] = resized
    return filled


def _cropped(step: Crop, images: Floats) -> Floats:
    _, height, width, _ = images.shape
    if height < step.height or width < step.width:
        message = f"An image of {height} x {width} has no middle of {step.height} x {step.width}."
        raise BadModel("input.bad_shape", message)
    top, left = (height - step.height) // 2, (width - step.width) // 2
    return images[:, top : top + step.height, left : left + step.width]


def _coloured(step: Colour, images: Floats) -> Floats:
    if images.shape[3] != 3:
        raise _does_not_fit("Colours are ordered while there are three of them.")
    if step.order == "grey":
        return (images @ _GREY)[..., None]
    return images[..., ::-1] if step.order == "bgr" else images


def _windows(step: Window, series: Floats) -> Floats:
    (values,) = series
    if len(values) < step.length:
        raise BadModel("input.bad_shape", f"A series of {len(values)} steps has no window of {step.length}.")
    count = (len(values) - step.length) // step.step + 1
    if count * step.length * values.shape[1] > _MAX_ELEMENTS:
        raise BadModel("input.bad_shape", f"A series of {len(values)} steps has too many windows.")
    views = np.lib.stride_tricks.sliding_window_view(values, step.length, axis=0)[:: step.step]
    return np.moveaxis(views, -1, 1)


def _does_not_fit(message: str) -> BadModel:
    return BadModel("preprocessing.does_not_fit", message)
