"""Uploaded versions are opened in the sandbox, on a real Ray, and are ready or refused by name; so with the command."""

import dataclasses
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import openvino
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from shoal.schemas.artifacts import ModelRequest, Version, VersionRequest
from shoal.schemas.signatures import Signature
from shoal.training.programs import export_programs
from shoal.wire.models import Task
from shoal.wire.tensors import encode_tensors
from tests.compressing import Controller
from tests.models import linear_onnx
from tests.registry import looked_at, one_input


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    controller = Controller(tmp_path_factory.mktemp("inspection") / "state")
    yield controller
    controller.close()


class Registry:
    """A client that registers models of one name after the other."""

    def __init__(self, controller: Controller) -> None:
        self.client = controller.client

    def model(self, name: str, signature: Signature | None = None, task: Task = Task.REGRESSION) -> None:
        self.client.models.create(ModelRequest(name=name, task=task, signature=signature))

    def file(self, name: str, format: str, data: bytes) -> Version:
        body = {"format": format, "file": self.client.artifacts.create(data).sha256}
        return looked_at(self.client, self.client.models.create_version(name, VersionRequest.model_validate(body)))

    def programs(self, name: str, **parts: bytes) -> Version:
        body = {part: self.client.artifacts.create(data).sha256 for part, data in parts.items()}
        return looked_at(self.client, self.client.models.create_version(name, VersionRequest.model_validate(body)))


@pytest.fixture
def registry(controller: Controller) -> Registry:
    return Registry(controller)


def dynamic_onnx() -> bytes:
    """An image model for any size, made elsewhere: two outputs, one of them of the input's size."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["scores"]),
            helper.make_node("Relu", ["image"], ["mask"]),
        ],
        "dynamic",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 3, "h", "w"]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def unknown_operator() -> bytes:
    model = onnx.load_from_string(linear_onnx())
    model.graph.node[0].op_type = "Teleport"
    return bytes(model.SerializeToString())


def openvino_ir(folder: Path) -> bytes:
    (folder / "linear.onnx").write_bytes(linear_onnx())
    openvino.save_model(openvino.convert_model(folder / "linear.onnx"), folder / "model.xml", compress_to_fp16=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in ("model.xml", "model.bin"):
            archive.write(folder / name, name)
    return buffer.getvalue()


def test_programs_when_they_are_what_the_model_says_then_are_ready_else_refused(registry: Registry) -> None:
    files = export_programs(nn.Linear(4, 3), torch.zeros(2, 4))
    parts = dataclasses.asdict(files)
    registry.model("programs", one_input([4], 3))
    good = registry.programs("programs", **parts)
    assert (good.state, good.code) == ("ready", ""), good.message
    assert good.inspection["parameters"] == 15
    other = export_programs(nn.Linear(5, 3), torch.zeros(2, 5))
    fixed = torch.export.export(nn.Linear(4, 3), (torch.zeros(2, 4),))
    buffer = io.BytesIO()
    torch.export.save(fixed, buffer)
    for change, code in (
        ({"weights": encode_tensors({"weight": torch.zeros(3, 4).numpy()})}, "model.weights_mismatch"),
        ({"eval_program": other.eval_program, "weights": other.weights}, "model.weights_mismatch"),
        (dataclasses.asdict(other), "model.bad_signature"),
        ({"eval_program": buffer.getvalue()}, "model.bad_signature"),
        ({"train_program": hollow()}, "program.not_loadable"),
    ):
        refused = registry.programs("programs", **{**parts, **change})
        assert (refused.state, refused.code) == ("refused", code), refused.message


def hollow() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("p/archive_format", "pt2")
        archive.writestr("p/models/model.json", "{}")
    return buffer.getvalue()


def test_files_when_made_elsewhere_then_their_models_get_their_signatures(registry: Registry, tmp_path: Path) -> None:
    for format, data in (("onnx", linear_onnx()), ("openvino", openvino_ir(tmp_path))):
        registry.model(format)
        made = registry.file(format, format, data)
        assert (made.state, made.inspection["runtime"][:4]) == ("ready", format[:4]), made.message
        signature = registry.client.models.show(format).signature
        assert signature is not None
        assert [spec.shape for spec in (*signature.inputs, *signature.outputs)] == [[-1, 4], [-1, 3]]
    registry.model("dynamic")
    made = registry.file("dynamic", "onnx", dynamic_onnx())
    assert (made.state, made.inspection["inferred"]) == ("ready", {"image": [2, 3, 32, 32]}), made.message
    shown = registry.client.models.show("dynamic").signature
    assert shown is not None
    assert [spec.shape for spec in shown.outputs] == [[-1, 3], [-1, 3, -1, -1]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_script_when_it_says_no_shapes_then_the_model_must(registry: Registry) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(4, 3), torch.zeros(2, 4)), buffer)
    registry.model("script-open")
    refused = registry.file("script-open", "torchscript", buffer.getvalue())
    assert (refused.state, refused.code) == ("refused", "model.bad_signature")
    registry.model("script", one_input([4], 3))
    assert registry.file("script", "torchscript", buffer.getvalue()).state == "ready"


def test_file_when_hostile_or_of_another_model_then_is_refused_and_the_next_is_not_harmed(registry: Registry) -> None:
    registry.model("hostile", one_input([4], 3))
    garbage = struct.pack("<I4s", 16, b"TFL3") + os.urandom(4096)
    for format, data, code in (
        ("onnx", unknown_operator(), "model.not_loadable"),
        ("onnx", linear_onnx(inputs=2), "model.bad_signature"),
        ("tflite", garbage, None),  # without the toolchain it is not even opened
    ):
        refused = registry.file("hostile", format, data)
        assert refused.state == "refused"
        assert refused.code == (code or refused.code) != ""
    assert registry.file("hostile", "onnx", linear_onnx()).state == "ready"


def shoal(controller: Controller, folder: Path, *arguments: str) -> tuple[int, str, str]:
    token = controller.client._connection._http.headers["Authorization"].removeprefix("Bearer ")
    environment = {
        **os.environ,
        "SHOAL_URL": controller.client.url,
        "SHOAL_TOKEN": token,
        "SHOAL_CONFIG": str(folder),
        "COLUMNS": "120",
    }
    command = [sys.executable, "-m", "shoal.cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def as_json(controller: Controller, folder: Path, *arguments: str) -> Any:
    code, out, err = shoal(controller, folder, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_command_when_it_imports_a_file_then_shows_where_it_comes_from_and_deletes_it(
    controller: Controller, tmp_path: Path
) -> None:
    openvino_ir(tmp_path)
    (tmp_path / "steps.json").write_text('[{"op": "scale", "factor": 0.5}]')
    options = ("--name", "imported", "--classes", "a,b,c", "--licence", "Apache-2.0")
    steps = ("--preprocessing", str(tmp_path / "steps.json"))
    code, out, err = shoal(controller, tmp_path, "models", "import", str(tmp_path / "model.xml"), *options, *steps)
    assert (code, ["State", "ready"] in [line.split() for line in out.splitlines()]) == (0, True), err
    assert "uploading model.zip" in err
    shown = as_json(controller, tmp_path, "models", "show", "imported")
    assert (shown["licence"], shown["preprocessing"][0]["factor"], shown["versions"]) == ("Apache-2.0", 0.5, 1)
    assert shown["signature"]["inputs"][0]["shape"] == [-1, 4]
    second = as_json(controller, tmp_path, "versions", "create", "imported", str(tmp_path / "linear.onnx"), "--watch")
    assert (second["number"], second["format"], second["state"]) == (2, "onnx", "ready")

    code, out, _ = shoal(controller, tmp_path, "models", "lineage", "imported")
    assert (code, "version 1" in out, "version 2" in out, "by admin" in out) == (0, True, True, True)
    graph = as_json(controller, tmp_path, "models", "lineage", "imported")
    assert [node["id"] for node in graph["nodes"]] == ["version:1", "version:2"]

    code, _, err = shoal(controller, tmp_path, "models", "delete", "imported")
    assert (code, "version imported/1" in err, "[model.in_use]" in err) == (1, True, True)
    for number in (1, 2):
        assert shoal(controller, tmp_path, "versions", "delete", f"imported/{number}")[0] == 0
    assert as_json(controller, tmp_path, "models", "delete", "imported")["deleted"]
    (tmp_path / "bad.onnx").write_bytes(unknown_operator())
    code, out, _ = shoal(controller, tmp_path, "models", "import", str(tmp_path / "bad.onnx"), *options)
    assert (code, "model.not_loadable" in out) == (1, True)
