"""The file of a data set: what is taken, what is refused by name, and that it is never read whole."""

import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.artifacts.dataset_file import MAX_DATASET_BYTES, DatasetTensor, examine, header_of
from controller.errors import Invalid
from shoal.wire.models import Datatype
from shoal.wire.tensors import decode_tensors, encode_tensors

X = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
Y = np.array([0, 2, 1])


def look(data: bytes) -> Any:
    return examine(lambda start, end: data[start:end], len(data))


def refusal(data: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        look(data)
    assert len(caught.value.message) < 600
    return caught.value.code


def raw(header: Any, elements: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + elements


def entry(dtype: str = "F32", shape: Any = (3, 1), offsets: Any = (0, 12)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("arrays", "tensors", "largest"),
    [
        ({"x": X, "y": Y}, {"x": ("FP32", [2, 4]), "y": ("INT64", [])}, 2),
        ({"x": X}, {"x": ("FP32", [2, 4])}, None),
        ({"x": X.astype(np.uint8), "at": Y}, {"x": ("UINT8", [2, 4]), "at": ("INT64", [])}, None),
        (
            {"x.a": X, "x.b": X[:, 0].astype(np.int32), "y.out": X[:, 0]},
            {"x.a": ("FP32", [2, 4]), "x.b": ("INT32", [4]), "y.out": ("FP32", [4])},
            None,
        ),
        ({"x": X, "y": X[:, 0, 0]}, {"x": ("FP32", [2, 4]), "y": ("FP32", [])}, None),
        ({"x": X, "y": np.full((3, 5), -1)}, {"x": ("FP32", [2, 4]), "y": ("INT64", [5])}, None),
    ],
)
def test_file_when_good_then_its_tensors_are_told(
    arrays: dict[str, Any], tensors: dict[str, tuple[str, list[int]]], largest: int | None
) -> None:
    found = look(encode_tensors(arrays))
    assert found.tensors == {name: {"datatype": kind, "shape": shape} for name, (kind, shape) in tensors.items()}
    assert (found.samples, found.largest_label) == (3, largest)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_file_when_a_value_is_not_finite_then_is_refused(bad: float, name: str, dtype: Any) -> None:
    arrays = {"x": X.astype(dtype), "y": X[:, 0].astype(dtype)}
    arrays[name].flat[-1] = bad
    assert refusal(encode_tensors(arrays)) == "dataset.not_finite"


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"y": Y},
        {"x": X, "z": Y},
        {"x": X, "x.a": X},
        {"x": X, "y": Y, "y.a": Y},
        {"x": X, "y": Y[:2]},
        {"x": X, "y": Y - 1},
        {"x": X[:, 0, 0]},
        {"x": X[:0]},
        {"x": X[:, :0]},
        {"x": np.float32(1)},
        {"x": X, "at": X[:, 0, 0]},
        {"x." + "a" * 129: X},
        {"x.\n": X},
        {"x.": X},
    ],
)
def test_file_when_its_tensors_are_no_samples_then_is_refused(arrays: dict[str, Any]) -> None:
    assert refusal(encode_tensors(arrays)) == "dataset.malformed"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        raw(b"{"),
        raw(b"[]"),
        raw(b"null"),
        raw(b"[" * 60_000),
        raw(b'{"x": ' * 9_000),
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        raw(b" " * 65_537),
        raw({"x": entry()}),
        raw({"x": entry()}, bytes(13)),
        raw({"x": entry(offsets=(4, 16))}, bytes(16)),
        raw({"x": entry(offsets=(12, 0))}, bytes(12)),
        raw({"x": entry(offsets=(0, 2**62))}, bytes(12)),
        raw({"x": entry(shape=(2**40, 2**40))}, bytes(12)),
        raw({"x": entry(shape=(-3, -1))}, bytes(12)),
        raw({"x": entry(shape=(3.5, 1))}, bytes(12)),
        raw({"x": entry(shape=())}, bytes(12)),
        raw({"x": entry(shape=[1] * 9)}, bytes(12)),
        raw({"x": entry(dtype="BF16", shape=(3, 2))}, bytes(12)),
        raw({"x": entry(dtype="O")}, bytes(12)),
        raw({"x": entry(), "y": entry("I64", (3,), (0, 24))}, bytes(24)),
        raw({"x": entry(), "y": entry("I64", (3,), (20, 44))}, bytes(44)),
        raw(b'{"x":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]},"x":{"dtype":"F32","shape":[3,1],'
            b'"data_offsets":[0,12]}}', bytes(12)),
        raw({"x": [1, 2]}, bytes(12)),
    ],
)  # fmt: skip
def test_file_when_its_header_lies_then_is_refused(data: bytes) -> None:
    assert refusal(data) == "dataset.malformed"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x80\x04\x95" + bytes(100), "dataset.pickled"),
        (b"PK\x03\x04" + bytes(100), "dataset.malformed"),
        (b"PAR1" + bytes(100), "dataset.malformed"),
    ],
)
def test_file_when_of_another_kind_then_says_which(data: bytes, code: str) -> None:
    assert refusal(data) == code


def test_file_when_too_large_then_is_refused_unread() -> None:
    def read(_start: int, _end: int) -> bytes:
        raise AssertionError("nothing has to be read for that")

    with pytest.raises(Invalid) as caught:
        examine(read, MAX_DATASET_BYTES + 1)
    assert caught.value.code == "dataset.too_large"


def test_file_when_large_then_is_read_in_pieces_and_uint8_not_at_all() -> None:
    asked: list[int] = []
    x = np.zeros((3, 4_000_000), np.uint8)
    data = encode_tensors({"x": x, "y.a": np.zeros((3, 1_500_000), np.float32)})

    def read(start: int, end: int) -> bytes:
        asked.append(end - start)
        return data[start:end]

    assert examine(read, len(data)).samples == 3
    assert max(asked) <= 4 * 2**20
    assert sum(asked) < 18_000_000 + 70_000


def test_file_when_it_shrinks_while_it_is_read_then_is_refused() -> None:
    data = encode_tensors({"x": X})
    with pytest.raises(Invalid, match="ends too early"):
        examine(lambda start, end: data[start : end - 1] if end == len(data) else data[start:end], len(data))


def test_header_when_written_then_the_formats_own_reader_takes_it() -> None:
    tensors = [
        DatasetTensor(name="y", datatype=Datatype.INT64, shape=[3]),
        DatasetTensor(name="x", datatype=Datatype.FP32, shape=[3, 2, 4]),
    ]
    data = header_of(tensors) + Y.astype("<i8").tobytes() + X.tobytes()
    found = decode_tensors(data)
    np.testing.assert_array_equal(found["x"], X)
    np.testing.assert_array_equal(found["y"], Y)
    assert look(data).samples == 3
    assert sum(tensor.size_bytes for tensor in tensors) == X.nbytes + Y.nbytes


@given(st.binary(max_size=300), st.integers(0, 300))
def test_file_when_of_any_bytes_then_is_only_refused(data: bytes, cut: int) -> None:
    good = encode_tensors({"x": X, "y": Y})
    for candidate in (data, good[:cut] + data + good[cut + len(data) + 1 :]):
        with suppress(Invalid):
            look(candidate)
