"""One suite for every runtime: same inputs, same outputs, bad models refused by name, a crash ends its own process."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from shoal.runtimes import available_runtimes, load_runtime
from shoal.runtimes.frames import FrameError, read_frame, write_frame
from shoal.runtimes.golden import check_golden
from shoal.runtimes.model import BadModel
from shoal.wire.tensors import decode_tensors, encode_tensors
from tests.models import WEIGHTS, golden_of, linear_onnx, samples
from tests.rig import wait_for

RUNTIMES = ["onnxruntime", "openvino"]


@pytest.fixture(params=RUNTIMES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_runtimes_when_listed_then_have_versions_and_none_is_imported() -> None:
    code = (
        "import sys, shoal.runtimes as r; "
        "print(sorted(r.available_runtimes()), [m for m in r._DISTRIBUTIONS if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == f"{sorted(available_runtimes())} []"


def test_model_when_loaded_then_agrees_with_the_reference(name: str) -> None:
    """float32 sums of four products: 1e-5 covers any order of adding."""
    model = load_runtime(name).open(linear_onnx())
    x = samples()
    np.testing.assert_allclose(model.infer(x), x @ WEIGHTS, atol=1e-5)
    np.testing.assert_allclose(model.infer(x[:1]), x[:1] @ WEIGHTS, atol=1e-5)
    assert (model.input.name, model.input.datatype, model.input.shape) == ("input", "FP32", (-1, 4))
    assert (model.output.name, model.output.shape) == ("output", (-1, 3))
    model.close()


@pytest.mark.parametrize("data", [b"", b"no model at all", linear_onnx()[:40]])
def test_model_when_it_is_none_then_is_refused_by_name(name: str, data: bytes) -> None:
    with pytest.raises(BadModel) as caught:
        load_runtime(name).open(data)
    assert caught.value.code in {"model.not_loadable", "model.bad_signature"}


def test_model_when_it_has_two_inputs_then_is_refused(name: str) -> None:
    with pytest.raises(BadModel) as caught:
        load_runtime(name).open(linear_onnx(inputs=2))
    assert caught.value.code == "model.bad_signature"


@pytest.mark.parametrize("shape", [(2, 3), (4,), (0, 4), (1, 4, 1)])
def test_input_when_of_another_shape_then_is_refused(name: str, shape: tuple[int, ...]) -> None:
    model = load_runtime(name).open(linear_onnx())
    with pytest.raises(BadModel) as caught:
        model.infer(np.zeros(shape, np.float32))
    assert caught.value.code == "input.bad_shape"


def test_golden_when_model_is_right_then_passes_and_otherwise_not(name: str) -> None:
    right = check_golden(load_runtime(name).open(linear_onnx()), golden_of())
    wrong = check_golden(load_runtime(name).open(linear_onnx(WEIGHTS[:, ::-1].copy())), golden_of())
    assert (right.passed, right.samples, right.agreement) == (True, 32, 1.0)
    assert not wrong.passed


def test_golden_when_malformed_then_is_refused(name: str) -> None:
    with pytest.raises(BadModel) as caught:
        check_golden(load_runtime(name).open(linear_onnx()), b"junk")
    assert caught.value.code == "golden.malformed"


def test_memory_when_loaded_and_closed_twenty_times_then_does_not_grow(name: str) -> None:
    """Twenty more loads may leave 2 MiB of allocator noise; one leaked 4 MiB model a load would leave 80."""
    data = linear_onnx(np.ones((1024, 1024), np.float32))
    for _ in range(5):
        load_runtime(name).open(data).close()
    before = psutil.Process().memory_info().rss
    for _ in range(20):
        load_runtime(name).open(data).close()
    assert psutil.Process().memory_info().rss - before < 16 * 2**20


class Running:
    """A runner process and its connection."""

    def __init__(self, folder: Path) -> None:
        path = folder / "runner"
        self.process = subprocess.Popen([sys.executable, "-m", "shoal.runtimes.runner", "--socket", path])
        self.connection = socket.socket(socket.AF_UNIX)
        wait_for(lambda: path.exists() and self.connection.connect_ex(str(path)) == 0)

    def ask(self, op: str, **arguments: object) -> dict[str, object]:
        write_frame(self.connection, {"op": op, **arguments})
        answer = read_frame(self.connection)
        assert answer is not None
        return answer


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.connection.close()
    assert running.process.wait(20) in (0, -signal.SIGKILL)


def test_runner_when_asked_then_loads_proves_infers_and_measures(runner: Running, tmp_path: Path, name: str) -> None:
    (tmp_path / "m.onnx").write_bytes(linear_onnx())
    (tmp_path / "golden").write_bytes(golden_of())
    (tmp_path / "data").write_bytes(encode_tensors({"x": samples(100)}))
    assert runner.ask("load", runtime=name, path=str(tmp_path / "m.onnx"))["ok"]
    assert runner.ask("golden", path=str(tmp_path / "golden"))["passed"]
    answer = runner.ask("infer", tensors=encode_tensors({"input": samples(3)}))["tensors"]
    assert isinstance(answer, bytes)
    np.testing.assert_allclose(decode_tensors(answer)["output"], samples(3) @ WEIGHTS, atol=1e-5)
    assert runner.ask("outputs", path=str(tmp_path / "data"), output=str(tmp_path / "out")) == {
        "ok": True,
        "samples": 100,
    }
    assert decode_tensors((tmp_path / "out").read_bytes())["output"].shape == (100, 3)
    assert runner.ask("measure", path=str(tmp_path / "data"), runs=20)["ok"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"op": "golden", "path": "x"}, "model.not_loaded"),
        ({"op": "load", "runtime": "abacus", "path": "/dev/null"}, "runtime.missing"),
        ({"op": "dance"}, "request.invalid"),
        ({"op": "load", "colour": "blue"}, "request.invalid"),
    ],
)
def test_runner_when_asked_wrongly_then_says_why_and_goes_on(
    runner: Running, request_: dict[str, str], code: str
) -> None:
    assert runner.ask(**request_)["code"] == code
    assert runner.ask(**request_)["code"] == code


def test_runner_when_it_is_killed_then_its_owner_sees_the_end(runner: Running) -> None:
    assert not runner.ask(op="nothing")["ok"]  # it has taken the connection by now
    os.kill(runner.process.pid, signal.SIGKILL)
    assert read_frame(runner.connection) is None


def test_frame_when_broken_off_or_huge_then_is_an_error() -> None:
    left, right = socket.socketpair()
    with left, right:
        right.sendall(b"\x00\x00\x00\x09abc")
        right.shutdown(socket.SHUT_WR)
        with pytest.raises(FrameError, match="broke off"):
            read_frame(left)
    left, right = socket.socketpair()
    with left, right:
        right.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(FrameError, match="too large"):
            read_frame(left)
