"""What the serving process answers, for models of several inputs and outputs and for raw data."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from agent.serving import Server
from shoal.runtimes.model import Array
from shoal.wire.models import Layout, Resize, Scale, Signature
from shoal.wire.tensors import encode_tensors
from tests.models import WEIGHTS, golden_of, linear_onnx, samples
from tests.runtime_files import LINEAR, PAIR, identity_onnx, pair_onnx, spec


def load(server: Server, folder: Path, model: bytes, proof: bytes, **others: Any) -> dict[str, Any]:
    (folder / "model").write_bytes(model)
    (folder / "golden").write_bytes(proof)
    named = {"path": str(folder / "model"), "golden": str(folder / "golden"), "class_labels": ["a", "b", "c"]}
    command = {"op": "load", "model": "m", "version": 3, "runtime": "onnxruntime", **named, **others}
    return asyncio.run(server.command(command))


def call(server: Server, method: str, path: str, **others: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app()), base_url="http://device") as client:
            return await client.request(method, path, **others)

    return asyncio.run(ask())


def tensor(name: str, x: Array, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": list(x.shape), "datatype": datatype, "data": x.ravel().tolist()}


def infer(server: Server, *tensors: dict[str, Any]) -> dict[str, Array]:
    answer = call(server, "POST", "/v2/models/m/infer", json={"inputs": list(tensors)})
    assert answer.status_code == 200, answer.text
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]}


def test_variant_when_it_has_several_inputs_and_outputs_then_all_are_described_and_answered(tmp_path: Path) -> None:
    server, left, right = Server(), samples(3), samples(3) * 2
    total = left + right
    golden = {"input.left": left, "input.right": right, "output.total": total, "output.output": total @ WEIGHTS}
    declared = msgspec.to_builtins(PAIR)
    told = load(server, tmp_path, pair_onnx(), encode_tensors(golden), signature=declared, task="regression")
    assert told["golden"]["passed"], told
    about = call(server, "GET", "/v2/models/m").json()
    assert [one["name"] for one in about["inputs"]] == ["left", "right"]
    assert [one["name"] for one in about["outputs"]] == ["total", "output"]
    assert "parameters" not in about
    outputs = infer(server, tensor("right", right), tensor("left", left))
    np.testing.assert_allclose(outputs["output"], total @ WEIGHTS, atol=1e-5)


def test_variant_when_it_has_preprocessing_then_takes_raw_data_of_any_size_and_its_own_input(tmp_path: Path) -> None:
    server = Server()
    signature = Signature(inputs=[spec("input", -1, 3, 2, 2)], outputs=[spec("output", -1, 3, 2, 2)])
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    told = load(
        server,
        tmp_path,
        identity_onnx(3, 2, 2),
        encode_tensors({"input.input": x, "output.output": x}),
        signature=msgspec.to_builtins(signature),
        preprocessing=msgspec.to_builtins([Resize(width=2, height=2), Scale(factor=0.5), Layout(order="nchw")]),
        task="regression",
    )
    assert told["golden"]["passed"], told
    about = call(server, "GET", "/v2/models/m").json()
    assert about["parameters"]["raw_input"] == {"name": "raw", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}
    assert [step["op"] for step in about["parameters"]["preprocessing"]] == ["resize", "scale", "layout"]
    for shape in ((5, 7, 3), (1, 2, 2, 3), (3, 9, 4, 3)):
        picture = np.full(shape, [10, 20, 30], np.uint8)
        output = infer(server, tensor("raw", picture, "UINT8"))["output"]
        assert output.shape == (shape[0] if len(shape) == 4 else 1, 3, 2, 2)
        np.testing.assert_allclose(output[0, :, 0, 0], [5, 10, 15], rtol=1e-5)
    np.testing.assert_array_equal(infer(server, tensor("input", x))["output"], x)


def test_variant_when_declared_without_a_signature_then_serves_as_its_file_says(tmp_path: Path) -> None:
    server = Server()
    assert load(server, tmp_path, linear_onnx(), golden_of())["golden"]["passed"]
    np.testing.assert_allclose(infer(server, tensor("input", samples(2)))["output"], samples(2) @ WEIGHTS, atol=1e-5)


def test_golden_set_when_it_is_of_before_several_inputs_then_still_proves_the_variant(tmp_path: Path) -> None:
    x = samples(8)
    golden = encode_tensors({"input": x, "output": x @ WEIGHTS})
    assert load(Server(), tmp_path, linear_onnx(), golden)["golden"]["passed"]


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ({"signature": msgspec.to_builtins(PAIR)}, "model.bad_signature"),
        ({"options": {"colour": "blue"}}, "runtime.bad_option"),
        ({"runtime": "abacus"}, "runtime.missing"),
        ({"task": "poetry"}, "task.unknown"),
        ({"golden": "/no/such/file"}, "artifact.unreadable"),
    ],
)
def test_variant_when_it_cannot_serve_then_is_refused_by_name_and_what_served_goes_on(
    tmp_path: Path, others: dict[str, Any], code: str
) -> None:
    server = Server()
    load(server, tmp_path, linear_onnx(), golden_of(), signature=msgspec.to_builtins(LINEAR))
    assert load(server, tmp_path, linear_onnx(), golden_of(), **others)["code"] == code
    assert infer(server, tensor("input", samples(1)))["output"].shape == (1, 3)


def test_request_when_not_what_the_model_takes_then_is_refused_by_name(tmp_path: Path) -> None:
    server = Server()
    load(server, tmp_path, linear_onnx(), golden_of())
    for name, datatype, code in (
        ("other", "FP32", "input.unknown"),
        ("input", "INT8", "input.bad_datatype"),
        ("raw", "FP32", "input.unknown"),
    ):
        body = {"inputs": [{"name": name, "shape": [1, 4], "datatype": datatype, "data": [1, 2, 3, 4]}]}
        answer = call(server, "POST", "/v2/models/m/infer", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
