"""Bodies of the Open Inference Protocol v2, good and bad."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.open_inference import HEADER_LENGTH, answer, describe, parse_request, tensors_of
from shoal.runtimes.model import Array, BadModel
from shoal.wire.models import Datatype, TensorSpec

OUTPUT = np.array([[1, 2, 3]], np.float32)
LABELS = np.array([7], np.int64)


def request(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    return {"inputs": [{**tensor, **changes}]}


def read(asked: dict[str, Any], binary: bytes = b"") -> dict[str, Array]:
    head = json.dumps(asked).encode()
    parsed, rest = parse_request(head + binary, str(len(head)) if binary else None)
    return tensors_of(parsed, rest)


def test_tensor_when_in_json_or_in_binary_then_is_the_same() -> None:
    raw = np.array([1, 2, 3, 4], "<f4").tobytes()
    in_binary = request(data=None, parameters={"binary_data_size": len(raw)})
    np.testing.assert_array_equal(read(request())["input"], read(in_binary, raw)["input"])
    np.testing.assert_array_equal(read(request(data=[[1, 2], [3, 4]]))["input"], [[1, 2], [3, 4]])


@pytest.mark.parametrize("datatype", list(Datatype))
def test_tensor_when_of_any_datatype_then_comes_in_json_and_in_binary(datatype: Datatype) -> None:
    data = np.array([[1, 0], [1, 1]]).astype(read(request(datatype=datatype, data=_data(datatype)))["input"].dtype)
    raw = data.tobytes()
    in_binary = request(datatype=datatype, data=None, parameters={"binary_data_size": len(raw)})
    for asked, binary in ((request(datatype=datatype, data=_data(datatype)), b""), (in_binary, raw)):
        got = read(asked, binary)["input"]
        assert got.dtype == data.dtype
        np.testing.assert_array_equal(got, data)


def _data(datatype: Datatype) -> list[Any]:
    return {Datatype.BOOL: [True, False, True, True]}.get(datatype, [1, 0, 1, 1])


def test_tensors_when_there_are_several_then_each_takes_its_bytes_in_turn() -> None:
    first, second = np.array([1.5], "<f4"), np.array([[7, 8]], np.int8)
    asked = {
        "inputs": [
            {"name": "a", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
            {"name": "b", "shape": [1], "datatype": "INT64", "data": [5]},
            {"name": "c", "shape": [1, 2], "datatype": "INT8", "parameters": {"binary_data_size": 2}},
        ]
    }
    got = read(asked, first.tobytes() + second.tobytes())
    assert {name: array.tolist() for name, array in got.items()} == {"a": [1.5], "b": [5], "c": [[7, 8]]}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"datatype": "BYTES"}, "input.bad_datatype"),
        ({"datatype": "INT8", "data": [1.5, 2, 3, 4]}, "input.bad_shape"),
        ({"datatype": "INT8", "data": [128, 2, 3, 4]}, "input.bad_shape"),
        ({"datatype": "UINT8", "data": [-1, 2, 3, 4]}, "input.bad_shape"),
        ({"datatype": "INT64", "data": [2**70, 2, 3, 4]}, "input.bad_shape"),
        ({"datatype": "BOOL"}, "input.bad_shape"),
        ({"shape": [3, 2]}, "input.bad_shape"),
        ({"shape": [-1, -1]}, "input.bad_shape"),
        ({"shape": [2**70]}, "input.bad_shape"),
        ({"shape": []}, "input.bad_shape"),
        ({"data": ["a", 2, 3, 4]}, "input.bad_shape"),
        ({"data": [None, 2, 3, 4]}, "input.bad_shape"),
        ({"data": [[1, 2], [3]]}, "input.bad_shape"),
        ({"data": {"a": 1}}, "input.bad_shape"),
        ({"data": None}, "input.bad_shape"),
        ({"parameters": {"binary_data_size": 16}}, "input.bad_size"),
        ({"parameters": {"binary_data_size": "many"}}, "input.bad_size"),
        ({"parameters": {"binary_data_size": -16}}, "input.bad_size"),
        ({"parameters": {"binary_data_size": 0}, "shape": [0, 2]}, "input.bad_shape"),
    ],
)
def test_tensor_when_wrong_then_is_refused_by_name(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(BadModel) as caught:
        read(request(**changes))
    assert caught.value.code == code


def test_tensors_when_bytes_are_left_or_a_name_comes_twice_then_are_refused_by_name() -> None:
    with pytest.raises(BadModel) as caught:
        read(request(), b"more")
    assert caught.value.code == "input.bad_size"
    with pytest.raises(BadModel) as caught:
        read({"inputs": request()["inputs"] * 2})
    assert caught.value.code == "input.unknown"


@pytest.mark.parametrize(("body", "length"), [(b"{", None), (b"[]", None), (b"{}", None), (b"{}", "many")])
def test_request_when_it_does_not_parse_then_is_refused_by_name(body: bytes, length: str | None) -> None:
    with pytest.raises(BadModel) as caught:
        parse_request(body, length)
    assert caught.value.code == "request.malformed"


def test_answer_when_binary_is_wanted_then_the_tensor_follows_the_header() -> None:
    asked, _ = parse_request(json.dumps({**request(), "id": "7", "outputs": [{"name": "output"}]}).encode(), None)
    body, media_type, headers = answer(asked, {"output": OUTPUT, "label": LABELS}, model="m", version=2)
    assert (media_type, headers) == ("application/json", {})
    assert msgspec.json.decode(body) == {
        "model_name": "m",
        "model_version": "2",
        "id": "7",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 2.0, 3.0]}],
    }
    asked.outputs[0].parameters["binary_data"] = True
    body, media_type, headers = answer(asked, {"output": OUTPUT}, model="m", version=2)
    split = int(headers[HEADER_LENGTH])
    assert media_type == "application/octet-stream"
    assert np.frombuffer(body[split:], "<f4").tolist() == [1, 2, 3]
    assert msgspec.json.decode(body[:split])["outputs"][0]["parameters"] == {"binary_data_size": 12}


def test_answer_when_no_output_is_named_then_has_all_and_each_in_its_way() -> None:
    asked, _ = parse_request(json.dumps(request()).encode(), None)
    body, _, _ = answer(asked, {"output": OUTPUT, "label": LABELS}, model="m", version=2)
    told = msgspec.json.decode(body)["outputs"]
    assert [(one["name"], one["datatype"], one["data"]) for one in told] == [
        ("output", "FP32", [1.0, 2.0, 3.0]),
        ("label", "INT64", [7]),
    ]
    asked.parameters["binary_data_output"] = True
    body, _, headers = answer(asked, {"output": OUTPUT, "label": LABELS}, model="m", version=2)
    assert body[int(headers[HEADER_LENGTH]) :] == OUTPUT.tobytes() + LABELS.tobytes()


def test_answer_when_an_output_is_asked_that_is_none_then_is_refused_by_name() -> None:
    asked, _ = parse_request(json.dumps({**request(), "outputs": [{"name": "x"}]}).encode(), None)
    with pytest.raises(BadModel) as caught:
        answer(asked, {"output": OUTPUT}, model="m", version=2)
    assert caught.value.code == "output.unknown"


def test_tensor_when_described_then_has_the_protocols_words() -> None:
    spec = TensorSpec(name="input", datatype=Datatype.FP32, shape=[-1, 2])
    assert describe(spec) == {"name": "input", "datatype": "FP32", "shape": [-1, 2]}
