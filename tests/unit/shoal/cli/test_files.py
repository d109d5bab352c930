"""Local files: arrays without pickle, requests of the Open Inference Protocol."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from shoal.cli import files
from shoal.cli.errors import CliError


def test_request_when_an_array_is_given_then_names_its_shape_and_datatype(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    (found,) = files.read_request(tmp_path / "x.npy", "image").inputs
    assert found.model_dump() == {
        "name": "image",
        "shape": [2, 3],
        "datatype": "FP32",
        "data": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    }


def test_request_when_several_arrays_are_given_then_each_is_the_input_of_its_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", left=np.zeros((1, 2), np.float16), right=np.array([[7]], np.int64))
    found = files.read_request(tmp_path / "x.npz", "unused").inputs
    assert [(one.name, one.datatype, one.shape, one.data) for one in found] == [
        ("left", "FP16", [1, 2], [0.0, 0.0]),
        ("right", "INT64", [1, 1], [7]),
    ]


def test_request_when_json_is_given_then_is_that(tmp_path: Path) -> None:
    body = {"id": "7", "inputs": [{"name": "input", "shape": [1], "datatype": "FP32", "data": [1.0]}]}
    (tmp_path / "x.json").write_text(json.dumps(body))
    assert files.read_request(tmp_path / "x.json", "input").model_dump() == body


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pickled.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(128)),
        ("plain.npy", pickle.dumps([1])),
        ("archive.npy", b"PK\x03\x04no archive"),
        (
            "huge.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,)}".ljust(128),
        ),
        ("text.npy", b"no array"),
        ("empty.npy", b""),
        ("archive.npz", b"PK\x03\x04no archive"),
        ("pickled.npz", pickle.dumps({"x": 1})),
        ("text.json", b"no json"),
        ("other.json", b'{"inputs": []}'),
        ("bytes.json", b"\xff\xfe"),
    ],
)
def test_request_when_the_file_is_none_then_says_so_and_runs_nothing(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CliError) as raised:
        files.read_request(tmp_path / name, "input")
    assert raised.value.code == "request.unreadable"


def test_request_when_its_type_is_none_of_the_protocol_then_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(2, np.complex64))
    with pytest.raises(CliError, match="complex64"):
        files.read_request(tmp_path / "x.npy", "input")
