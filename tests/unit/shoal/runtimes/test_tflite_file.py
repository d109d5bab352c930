"""What is read of a `.tflite` file before it is run, from files that may be hostile."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.runtimes.model import BadModel
from shoal.runtimes.tflite_file import TfLiteFile, read_tflite
from tests.runtime_files import linear_int8_tflite, linear_tflite, pair_tflite

ADD, FULLY_CONNECTED, PAD = 0, 9, 34
GOOD = linear_int8_tflite(is_padded=True, per_channel=True)


def read(folder: Path, data: bytes) -> TfLiteFile:
    (folder / "model").write_bytes(data)
    return read_tflite(folder / "model")


@pytest.mark.parametrize(
    ("data", "operators", "per_channel", "padded"),
    [
        (linear_tflite(), {FULLY_CONNECTED}, (), ()),
        (pair_tflite(), {ADD, FULLY_CONNECTED}, (), ()),
        (linear_int8_tflite(), {FULLY_CONNECTED}, (), ()),
        (linear_int8_tflite(per_channel=True), {FULLY_CONNECTED}, ("w",), ()),
        (linear_int8_tflite(is_padded=True), {PAD, FULLY_CONNECTED}, (), ("input",)),
    ],
)
def test_file_when_read_then_tells_what_arm_nn_must_not_run(
    tmp_path: Path, data: bytes, operators: set[int], per_channel: tuple[str], padded: tuple[str]
) -> None:
    assert read(tmp_path, data) == TfLiteFile(
        operators=frozenset(operators), per_channel=per_channel, padded_int8=padded
    )


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00\x00\x00\x00TFL3", b"no tflite file"])
def test_file_when_it_is_none_then_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadModel) as caught:
        read(tmp_path, data)
    assert caught.value.code == "model.not_loadable"


def outcome(folder: Path, data: bytes) -> str:
    try:
        read(folder, data)
    except BadModel as error:
        return error.code
    return "read"


@given(place=st.integers(0, len(GOOD) - 4), number=st.integers(0, 2**32 - 1), cut=st.integers(0, len(GOOD)))
@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_file_when_damaged_anywhere_then_is_read_or_refused_and_never_read_beyond(
    tmp_path: Path, place: int, number: int, cut: int
) -> None:
    damaged = GOOD[:place] + number.to_bytes(4, "little") + GOOD[place + 4 :]
    assert outcome(tmp_path, damaged) in {"read", "model.not_loadable"}
    assert outcome(tmp_path, GOOD[:cut]) in {"read", "model.not_loadable"}
