"""What an upload must be before a row names it."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.artifacts import checks
from controller.errors import Invalid
from shoal.wire.tensors import encode_tensors


def archive(**entries: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in entries.items():
            made.writestr(name.replace("__", "/").replace("_json", ".json"), text)
    return buffer.getvalue()


def test_program_when_archive_is_complete_then_passes() -> None:
    checks.check_program(io.BytesIO(archive(p__archive_format="pt2", p__models__model_json="{}")), "train")


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
        checks.check_program(io.BytesIO(data), "train")
    assert caught.value.code == "model.not_a_program"


def check_weights(data: bytes) -> None:
    checks.check_weights(lambda start, end: data[start:end], len(data))


def test_weights_when_finite_then_pass_whatever_their_shapes() -> None:
    check_weights(encode_tensors({"w": np.ones((2, 3), np.float32), "count": np.array(7), "empty": np.ones((0, 3))}))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "no tensor"),
        ({"w": np.array([1.0, np.nan])}, "w has NaN or infinite values"),
        ({"big": np.r_[np.ones(2**20), np.inf].astype(np.float32)}, "big has NaN"),
    ],
)
def test_weights_when_they_cannot_be_used_then_are_refused_with_why(tensors: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        check_weights(encode_tensors(tensors))
    assert caught.value.code == "model.bad_weights"


def test_weights_when_read_then_a_piece_at_a_time() -> None:
    data = encode_tensors({"w": np.ones(4 * 2**20, np.float32)})
    lengths = []

    def read(start: int, end: int) -> bytes:
        lengths.append(end - start)
        return data[start:end]

    checks.check_weights(read, len(data))
    assert max(lengths) <= 4 * 2**20 < sum(lengths) == len(data)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_checks_when_given_any_bytes_then_only_refuse(data: bytes, cut: int) -> None:
    good = archive(p__archive_format="pt2", p__models__model_json="{}")
    for check in (check_weights, lambda d: checks.check_program(io.BytesIO(d), "train")):
        for candidate in (data, good[:cut] + data):
            with pytest.raises(Invalid):
                check(candidate)
