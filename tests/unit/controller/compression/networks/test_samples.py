"""What is wrong with a data set is told by name, before anything starts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.compression.networks.refused import Refused
from controller.compression.networks.samples import read_samples
from shoal.wire.models import Datatype, Signature, TensorSpec
from shoal.wire.tensors import encode_tensors

ONE = Signature([TensorSpec("image", Datatype.FP32, [-1, 2, -1])], [TensorSpec("label", Datatype.FP32, [-1, 3])])
TWO = Signature(
    [TensorSpec("image", Datatype.FP32, [-1, 2]), TensorSpec("count", Datatype.INT64, [-1])],
    [TensorSpec("label", Datatype.FP32, [-1, 3])],
)


def data(**tensors: Any) -> bytes:
    return encode_tensors({name.replace("_", "."): array for name, array in tensors.items()})


def with_nan() -> np.ndarray[Any, Any]:
    x = np.zeros((2000, 2, 5), np.float32)
    x[1500, 1, 3] = np.nan
    return x


X = np.arange(40, dtype=np.float32).reshape(4, 2, 5)


@pytest.mark.parametrize("name", ["x", "x.image"])
def test_samples_when_read_from_bytes_or_a_path_then_are_the_same(name: str, tmp_path: Path) -> None:
    content = encode_tensors({name: X, "y": np.arange(4)})
    (tmp_path / "data").write_bytes(content)
    for source in (content, str(tmp_path / "data")):
        samples = read_samples(source, ONE, noun="training")
        assert (len(samples), samples.outputs) == (4, ("label",))
        np.testing.assert_array_equal(samples.inputs["image"], X)
        np.testing.assert_array_equal(samples.take(np.array([3, 1])).targets["y"], [3, 1])
        assert [len(batch) for batch in samples.batches(3)] == [3, 1]


def test_file_when_given_by_its_path_then_is_mapped_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(data(x=X))
    assert isinstance(read_samples(str(tmp_path / "data"), ONE, noun="calibration").inputs["image"], np.memmap)


@pytest.mark.parametrize(
    ("content", "signature", "code"),
    [
        (b"no safetensors", ONE, "calibration.malformed"),
        (data(z=X), ONE, "calibration.missing"),
        (data(x=X), TWO, "calibration.missing"),
        (data(x=X[:, :, :, None]), ONE, "calibration.bad_shape"),
        (data(x=X[:, :1]), ONE, "calibration.bad_shape"),
        (data(x=X.astype(np.float64)), ONE, "calibration.bad_shape"),
        (data(x=X, y=np.zeros(3)), ONE, "calibration.bad_shape"),
        (data(x_image=X[:, :, 0], x_count=np.zeros(3, np.int64)), TWO, "calibration.bad_shape"),
        (data(x=with_nan()), ONE, "calibration.not_finite"),
        (data(x=X[:2]), ONE, "calibration.too_few"),
    ],
)
def test_samples_when_wrong_then_are_refused_by_name(
    content: bytes, signature: Signature, code: str, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(content)
    for source in (content, str(tmp_path / "data")):
        with pytest.raises(Refused) as caught:
            read_samples(source, signature, noun="calibration", least=3)
        assert caught.value.code == code


def test_sample_when_it_has_nan_then_its_place_is_told() -> None:
    with pytest.raises(Refused, match="Sample 1500 of image"):
        read_samples(data(x=with_nan()), ONE, noun="calibration")
