"""Preprocessing against PyTorch's own resampling and against loops that spell each step out."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shoal.runtimes.model import Array, BadModel
from shoal.runtimes.preprocessing import check_steps, inputs_of, prepare, raw_spec
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

SIZES = [(37, 53, 16, 16), (8, 8, 31, 17), (300, 200, 224, 224), (224, 224, 7, 300), (5, 9, 5, 3), (1, 1, 4, 4)]


def picture(height: int, width: int, count: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def by_torch(images: Array, height: int, width: int, **how: Any) -> Array:
    tensor = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(tensor, (height, width), **how)
    array: Array = resized.permute(0, 2, 3, 1).numpy()
    return array


@pytest.mark.parametrize(("height", "width", "new_height", "new_width"), SIZES)
def test_bilinear_when_compared_with_pytorch_then_differs_by_rounding_only(
    height: int, width: int, new_height: int, new_width: int
) -> None:
    """Pixels are up to 255 and PyTorch reckons its weights in float32: 0.01 is a hundredth of a grey level."""
    images = picture(height, width, 2)
    wanted = by_torch(images, new_height, new_width, mode="bilinear", antialias=True, align_corners=False)
    got = bilinear(images.astype(np.float32), new_height, new_width)
    np.testing.assert_allclose(got, wanted, atol=0.01)


@pytest.mark.parametrize(("height", "width", "new_height", "new_width"), SIZES)
def test_nearest_when_compared_with_pytorch_then_is_equal(
    height: int, width: int, new_height: int, new_width: int
) -> None:
    images = picture(height, width)
    wanted = by_torch(images, new_height, new_width, mode="nearest-exact")
    np.testing.assert_array_equal(nearest(images.astype(np.float32), new_height, new_width), wanted)


def test_bilinear_when_an_image_shrinks_to_half_then_is_what_a_loop_gives() -> None:
    """Half-pixel centres, a triangle four pixels wide: weights 1/8, 3/8, 3/8, 1/8, at the border those inside."""
    row = np.array([10, 20, 30, 40, 50, 60, 70, 80], np.float32)
    wanted = []
    for place in range(4):
        taps = {2 * place + offset: weight for offset, weight in zip((-1, 0, 1, 2), (1, 3, 3, 1), strict=True)}
        inside = {index: weight for index, weight in taps.items() if 0 <= index < 8}
        wanted.append(sum(row[index] * weight for index, weight in inside.items()) / sum(inside.values()))
    np.testing.assert_allclose(bilinear(row.reshape(1, 1, 8, 1), 1, 4).ravel(), wanted, rtol=1e-6)


def test_all_steps_when_done_then_are_what_a_loop_gives() -> None:
    """The loop reckons in float64: 1e-4 of values up to 3 covers float32."""
    image = picture(11, 15)[0]
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    steps: list[PreprocessingStep] = [
        Resize(width=12, height=9),
        Crop(width=7, height=5),
        Colour(order="bgr"),
        Normalize(mean=mean, std=std),
        Scale(factor=2.0, offset=0.5),
        Layout(order="nchw"),
    ]
    resized = by_torch(image[None], 9, 12, mode="bilinear", antialias=True)[0].astype(np.float64)
    wanted = np.zeros((1, 3, 5, 7))
    for channel in range(3):
        for y in range(5):
            for x in range(7):
                value = resized[y + 2, x + 2, 2 - channel]
                wanted[0, channel, y, x] = (value - mean[channel]) / std[channel] * 2 + 0.5
    got = prepare(steps, image)
    assert (got.dtype, got.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_grey_when_made_then_weighs_the_colours_and_keeps_one_channel() -> None:
    got = prepare([Colour(order="grey")], np.array([[[10, 20, 30]]], np.uint8))
    np.testing.assert_allclose(got, [[[[0.299 * 10 + 0.587 * 20 + 0.114 * 30]]]], rtol=1e-6)


def test_letterbox_when_an_image_is_wide_then_fills_above_and_below() -> None:
    got = prepare([Resize(width=4, height=4, fit="letterbox", fill=7.0)], np.full((10, 20, 3), 50, np.uint8))
    np.testing.assert_allclose(got[0, :, :, 0], [[7] * 4, [50] * 4, [50] * 4, [7] * 4], rtol=1e-6)


@pytest.mark.parametrize(("height", "width", "shape"), [(10, 20, (4, 8)), (20, 10, (8, 4)), (7, 5, (6, 4))])
def test_cover_when_an_image_has_another_form_then_its_shorter_side_fits(
    height: int, width: int, shape: tuple[int, int]
) -> None:
    assert prepare([Resize(width=4, height=4, fit="cover")], picture(height, width)).shape[1:3] == shape


def test_windows_when_cut_then_each_is_a_sample() -> None:
    series = np.arange(14, dtype=np.float32).reshape(7, 2)
    got = prepare([Window(length=3, step=2), Layout(order="ncw")], series)
    wanted = [series[start : start + 3].T for start in (0, 2, 4)]
    np.testing.assert_array_equal(got, wanted)


def test_inputs_when_whole_numbers_are_wanted_then_are_rounded_and_clipped() -> None:
    spec = TensorSpec(name="image", datatype=Datatype.UINT8, shape=[-1, 1, 1, 3])
    raw = np.array([[[10, 100, 200]]], np.uint8)
    made = inputs_of({"raw": raw}, [spec], [Scale(factor=1.27, offset=0.6)])
    assert made["image"].tolist() == [[[[13, 128, 255]]]]
    assert made["image"].dtype == np.uint8


def test_inputs_when_they_are_the_models_own_then_stay_as_they_are() -> None:
    spec = TensorSpec(name="raw", datatype=Datatype.FP32, shape=[-1])
    x = np.zeros(3, np.float32)
    assert inputs_of({"raw": x}, [spec], [Scale(factor=2.0)])["raw"] is x
    assert inputs_of({"a": x, "b": x}, [], []).keys() == {"a", "b"}


def test_raw_when_described_then_is_of_images_or_of_a_series() -> None:
    assert raw_spec([Resize(width=1, height=1)]).shape == [-1, -1, -1, 3]
    assert raw_spec([Scale(factor=1.0), Window(length=1, step=1)]).shape == [-1, -1]


@pytest.mark.parametrize(
    ("steps", "raw", "code"),
    [
        ([Crop(width=9, height=9)], picture(8, 9), "input.bad_shape"),
        ([Resize(width=1, height=1)], picture(2, 2).astype(np.float32), "input.bad_datatype"),
        ([Resize(width=1, height=1)], picture(2, 2)[..., :1], "input.bad_shape"),
        ([Resize(width=16_000, height=16_000)], picture(2, 2), "input.bad_shape"),
        ([Window(length=9, step=1)], np.zeros((8, 2), np.float32), "input.bad_shape"),
        ([Window(length=2, step=1)], np.zeros((8, 2, 1), np.float32), "input.bad_shape"),
        ([Window(length=2, step=1)], np.zeros((8, 2), np.float64), "input.bad_datatype"),
        ([Normalize(mean=[1.0, 2.0], std=[1.0])], picture(2, 2), "preprocessing.does_not_fit"),
        ([Colour(order="grey"), Colour(order="bgr")], picture(2, 2), "preprocessing.does_not_fit"),
    ],
)
def test_raw_data_when_it_does_not_fit_the_steps_then_is_refused_by_name(
    steps: list[PreprocessingStep], raw: Array, code: str
) -> None:
    with pytest.raises(BadModel) as caught:
        prepare(steps, raw)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "steps",
    [
        [Resize(width=1, height=1), Window(length=1, step=1)],
        [Window(length=1, step=1), Crop(width=1, height=1)],
        [Layout(order="nchw"), Resize(width=1, height=1)],
        [Layout(order="nchw"), Normalize(mean=[1.0], std=[1.0])],
        [Resize(width=1, height=1), Layout(order="ncw")],
        [Window(length=1, step=1), Window(length=1, step=1)],
        [Normalize(mean=[0.0], std=[0.0])],
        [Normalize(mean=[float("nan")], std=[1.0])],
        [Scale(factor=float("inf"))],
    ],
)
def test_steps_when_they_fit_no_data_then_are_refused_by_name(steps: list[PreprocessingStep]) -> None:
    with pytest.raises(BadModel) as caught:
        check_steps(steps)
    assert caught.value.code == "preprocessing.does_not_fit"
