"""Bodies of the Open Inference Protocol v2, good and bad."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.open_inference import HEADER_LENGTH, answer, parse_request, tensor_of
from shoal.runtimes.model import BadModel, Tensor, TensorSpec

SPEC = TensorSpec("input", "FP32", (-1, 2))
OUTPUT = np.array([[1, 2, 3]], np.float32)


def request(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    return {"inputs": [{**tensor, **changes}]}


def read(asked: dict[str, Any], binary: bytes = b"") -> Tensor:
    head = json.dumps(asked).encode()
    parsed, rest = parse_request(head + binary, str(len(head)) if binary else None)
    return tensor_of(parsed, rest, SPEC)


def test_tensor_when_in_json_or_in_binary_then_is_the_same() -> None:
    raw = np.array([1, 2, 3, 4], "<f4").tobytes()
    in_binary = request(data=None, parameters={"binary_data_size": len(raw)})
    np.testing.assert_array_equal(read(request()), read(in_binary, raw))
    np.testing.assert_array_equal(read(request(data=[[1, 2], [3, 4]])), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "other"}, "input.unknown"),
        ({"datatype": "INT8"}, "input.unknown"),
        ({"shape": [3, 2]}, "input.bad_shape"),
        ({"shape": [-1, -1]}, "input.bad_shape"),
        ({"data": ["a", 2, 3, 4]}, "input.bad_shape"),
        ({"data": {"a": 1}}, "input.bad_shape"),
        ({"parameters": {"binary_data_size": 8}}, "input.bad_size"),
    ],
)
def test_tensor_when_wrong_then_is_refused_by_name(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(BadModel) as caught:
        read(request(**changes))
    assert caught.value.code == code


@pytest.mark.parametrize(("body", "length"), [(b"{", None), (b"[]", None), (b"{}", None), (b"{}", "many")])
def test_request_when_it_does_not_parse_then_is_refused_by_name(body: bytes, length: str | None) -> None:
    with pytest.raises(BadModel) as caught:
        parse_request(body, length)
    assert caught.value.code == "request.malformed"


def test_answer_when_binary_is_wanted_then_the_tensor_follows_the_header() -> None:
    asked, _ = parse_request(json.dumps({**request(), "id": "7", "outputs": [{"name": "output"}]}).encode(), None)
    output = TensorSpec("output", "FP32", (-1, 3))
    body, media_type, headers = answer(asked, OUTPUT, model="m", version=2, spec=output)
    assert (media_type, headers) == ("application/json", {})
    assert msgspec.json.decode(body) == {
        "model_name": "m",
        "model_version": "2",
        "id": "7",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 2.0, 3.0]}],
    }
    asked.outputs[0].parameters["binary_data"] = True
    body, media_type, headers = answer(asked, OUTPUT, model="m", version=2, spec=output)
    split = int(headers[HEADER_LENGTH])
    assert media_type == "application/octet-stream"
    assert np.frombuffer(body[split:], "<f4").tolist() == [1, 2, 3]
    assert msgspec.json.decode(body[:split])["outputs"][0]["parameters"] == {"binary_data_size": 12}
