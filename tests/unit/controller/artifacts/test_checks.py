"""What an upload must be before a row names it."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.artifacts import checks
from controller.errors import Invalid
from shoal.wire.tensors import encode_tensors

X, Y = np.zeros((3, 2), np.float32), np.arange(3)


def archive(**entries: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in entries.items():
            made.writestr(name.replace("__", "/").replace("_json", ".json"), text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"x": X}, "dataset.malformed"),
        ({"x": X, "y": Y, "z": Y}, "dataset.malformed"),
        ({"x": X.astype(np.float64), "y": Y}, "dataset.malformed"),
        ({"x": X, "y": Y.astype(np.int32)}, "dataset.malformed"),
        ({"x": X, "y": Y[:2]}, "dataset.malformed"),
        ({"x": X, "y": Y - 1}, "dataset.malformed"),
        ({"x": X[:0], "y": Y[:0]}, "dataset.malformed"),
        ({"x": X + np.float32("inf"), "y": Y}, "dataset.not_finite"),
    ],
)
def test_dataset_when_wrong_then_is_refused_by_name(tensors: dict[str, np.ndarray], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        checks.check_dataset(encode_tensors(tensors))
    assert caught.value.code == code


def test_dataset_when_right_then_gives_its_figures() -> None:
    assert checks.check_dataset(encode_tensors({"x": X, "y": Y})) == checks.DatasetFigures(samples=3, sample_shape=[2])


def test_program_when_archive_is_complete_then_passes() -> None:
    checks.check_program(archive(p__archive_format="pt2", p__models__model_json="{}"), "train")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        archive(),
        archive(p__archive_format="pt2"),
        archive(p__archive_format="jit", p__models__model_json="{}"),
        archive(p__archive_format="pt2", q__models__model_json="{}"),
        archive(p__archive_format="p" * 10_000_000, p__models__model_json="{}"),
    ],
)
def test_program_when_no_export_then_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        checks.check_program(data, "train")
    assert caught.value.code == "model.not_a_program"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_checks_when_given_any_bytes_then_only_refuse(data: bytes, cut: int) -> None:
    good = archive(p__archive_format="pt2", p__models__model_json="{}")
    for check in (checks.check_dataset, checks.check_weights, lambda d: checks.check_program(d, "train")):
        for candidate in (data, good[:cut] + data):
            with pytest.raises(Invalid):
                check(candidate)
