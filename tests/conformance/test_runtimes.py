"""One suite for every back end, each in its runner: the same inputs, the same answers, refusals by name, no leaks.

A back end that is not installed here is skipped with how to install it, and fails with CI=true.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from shoal import toolchain
from shoal.runtimes import available_runtimes
from shoal.runtimes.frames import FrameError, read_frame, write_frame
from shoal.runtimes.process import ChildProcess, ProcessError
from shoal.wire.models import Layout, Preprocessing, Scale, Signature, Window
from shoal.wire.runtimes import FORMATS
from shoal.wire.tensors import decode_tensors, encode_tensors
from tests import runtime_files as made
from tests.conftest import require
from tests.models import WEIGHTS, golden_of, linear_onnx, samples
from tests.rig import wait_for
from tests.runtime_files import LINEAR, PAIR, ROOT

LARGE = np.ones((2048, 2048), np.float32)  # 16 MiB
LARGE_SIGNATURE = Signature(inputs=[made.spec("input", -1, 2048)], outputs=[made.spec("output", -1, 2048)])
ARMNN = "python3-pyarmnn libarmnn-cpuref-backend22 libarmnntfliteparser22 python3-numpy"
INSTALL = {"executorch": toolchain.COMMAND, "armnn": f"sudo apt-get install {ARMNN}"}


@cache
def pte() -> dict[str, bytes]:
    python = toolchain.python()
    assert python is not None
    return made.pte_files(python)


@dataclass(frozen=True)
class Kind:
    """A back end with a format.

    Attributes:
        linear, pair, large: Make the files; a back end that knows one input and one output has no pair.
        tolerance: 1e-5 covers any order of adding four products. The int8 file rounds inputs and outputs to half a step
            of 8/255; the weights of an output add up to 1.5.
    """

    runtime: str
    format: str
    linear: Callable[[], bytes]
    pair: Callable[[], bytes] | None = None
    large: Callable[[], bytes] | None = None
    tolerance: float = 1e-5

    def __str__(self) -> str:
        return f"{self.runtime}-{self.format}"


KINDS = [
    Kind("onnxruntime", "onnx", linear_onnx, made.pair_onnx, lambda: linear_onnx(LARGE)),
    Kind("openvino", "onnx", linear_onnx, made.pair_onnx, lambda: linear_onnx(LARGE)),
    Kind(
        "openvino",
        "openvino",
        lambda: made.openvino_ir(linear_onnx()),
        lambda: made.openvino_ir(made.pair_onnx()),
        lambda: made.openvino_ir(linear_onnx(LARGE)),
    ),
    Kind("litert", "tflite", made.linear_tflite, made.pair_tflite, lambda: made.linear_tflite(weights=LARGE)),
    Kind("litert", "tflite-free", lambda: made.linear_tflite(batch=-1)),
    Kind("litert", "tflite-int8", made.linear_int8_tflite, tolerance=1.25 * 8 / 255),
    Kind("armnn", "tflite", made.linear_tflite, made.pair_tflite, lambda: made.linear_tflite(weights=LARGE)),
    Kind("armnn", "tflite-int8", made.linear_int8_tflite, tolerance=1.25 * 8 / 255),
    Kind(
        "torchscript",
        "torchscript",
        lambda: made.torchscript(made.Linear()),
        lambda: made.torchscript(made.Pair(), 2),
        lambda: made.torchscript(made.Linear(LARGE)),
    ),
    Kind(
        "torchscript",
        "ptl",
        lambda: made.torchscript(made.Linear(), is_lite=True),
        lambda: made.torchscript(made.Pair(), 2, is_lite=True),
        lambda: made.torchscript(made.Linear(LARGE), is_lite=True),
    ),
    Kind("executorch", "pte", lambda: pte()["linear"], lambda: pte()["pair"], lambda: pte()["large"]),
    Kind("executorch", "pte-free", lambda: pte()["linear-free"]),
    Kind("executorch", "pte-4", lambda: pte()["linear-4"]),
    Kind("edgeimpulse", "eim", made.eim),
    Kind("edgeimpulse", "eim-shared", lambda: made.eim(shared=True)),
]
PAIRS = [kind for kind in KINDS if kind.pair is not None]
LARGES = [kind for kind in KINDS if kind.large is not None]
WITH_COMPANION = ["armnn", "edgeimpulse"]  # runtimes that work in a process beside the runner
FIRSTS = [kind for kind in KINDS if kind.format in FORMATS[kind.runtime]]


class Running:
    """A runner process and its connection."""

    def __init__(self, folder: Path, python: Path | str = sys.executable) -> None:
        self.folder = folder
        path = folder / "s"
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [python, "-m", "shoal.runtimes.runner", "--socket", path], cwd=ROOT, stdout=log, stderr=log
            )
        self.connection = socket.socket(socket.AF_UNIX)
        wait_for(lambda: path.exists() and self.connection.connect_ex(str(path)) == 0)

    def ask(self, op: str, **arguments: object) -> dict[str, Any]:
        write_frame(self.connection, {"op": op, **arguments})
        answer = read_frame(self.connection)
        assert answer is not None
        return answer

    def load(self, runtime: str, data: bytes, signature: Signature | None = None, **others: object) -> dict[str, Any]:
        path = self.folder / "model"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return self.ask("load", runtime=runtime, path=str(path), signature=msgspec.to_builtins(signature), **others)

    def put(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def infer(self, **tensors: NDArray[Any]) -> dict[str, NDArray[Any]]:
        answer = self.ask("infer", tensors=encode_tensors(tensors))
        assert answer["ok"], answer
        return decode_tensors(answer["tensors"])

    def memory_bytes(self) -> int:
        processes = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        return sum(one.memory_info().rss for one in processes)

    def close(self) -> int:
        self.connection.close()
        return self.process.wait(20)


def python_of(runtime: str) -> Path | str:
    """The Python that has a runtime."""
    if runtime in available_runtimes():
        return sys.executable
    found = toolchain.python() if runtime == "executorch" else None
    return Path(
        require(None if found is None else str(found), runtime, INSTALL.get(runtime, f"pip install 'shoal[{runtime}]'"))
    )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Running]]:
    """One runner for each runtime."""
    running: dict[str, Running] = {}

    def start(runtime: str) -> Running:
        if runtime not in running:
            running[runtime] = Running(tmp_path_factory.mktemp(runtime), python_of(runtime))
        return running[runtime]

    yield start
    assert {one.close() for one in running.values()} <= {0}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """A runner of one's own."""
    running: list[Running] = []

    def start(runtime: str) -> Running:
        running.append(Running(tmp_path, python_of(runtime)))
        return running[-1]

    yield start
    for one in running:
        assert one.close() in (0, -signal.SIGKILL, -signal.SIGSEGV)


def test_runtimes_when_listed_then_have_versions_and_none_is_imported() -> None:
    libraries = ["onnxruntime", "openvino", "ai_edge_litert", "torch", "executorch", "pyarmnn", "numpy"]
    code = (
        "import sys, shoal.wire.runtimes as r; "
        f"print(sorted(r.available_runtimes()), [m for m in {libraries} if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == f"{sorted(available_runtimes())} []"
    assert set(available_runtimes()) <= set(FORMATS)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_model_when_loaded_then_agrees_with_the_reference(started: Callable[[str], Running], kind: Kind) -> None:
    runner, x = started(kind.runtime), samples(10)
    loaded = runner.load(kind.runtime, kind.linear(), LINEAR)
    assert loaded["ok"], loaded
    assert loaded["inputs"] == msgspec.to_builtins(LINEAR.inputs)
    assert loaded["runtime_version"]
    for count in (10, 1, 3):  # as they come, whatever the file's own batch is
        output = runner.infer(input=x[:count])["output"]
        assert (output.dtype, output.shape) == (np.float32, (count, 3))
        np.testing.assert_allclose(output, x[:count] @ WEIGHTS, atol=kind.tolerance)


@pytest.mark.parametrize("kind", PAIRS, ids=str)
def test_model_when_it_has_several_inputs_and_outputs_then_each_is_its_own(
    started: Callable[[str], Running], kind: Kind
) -> None:
    assert kind.pair is not None
    runner, left, right = started(kind.runtime), samples(6), np.flip(samples(6)).copy()
    assert runner.load(kind.runtime, kind.pair(), PAIR)["ok"]
    outputs = runner.infer(right=right, left=left)
    np.testing.assert_allclose(outputs["total"], left + right, atol=kind.tolerance)
    np.testing.assert_allclose(outputs["output"], (left + right) @ WEIGHTS, atol=kind.tolerance)


@pytest.mark.parametrize("kind", FIRSTS, ids=str)
@pytest.mark.parametrize("data", [b"", b"no model at all", b"short"], ids=["empty", "junk", "short"])
def test_model_when_it_is_none_then_is_refused_by_name(
    started: Callable[[str], Running], kind: Kind, data: bytes
) -> None:
    answer = started(kind.runtime).load(kind.runtime, data, LINEAR)
    assert (answer["ok"], answer["code"]) == (False, "model.not_loadable")


@pytest.mark.parametrize("kind", FIRSTS, ids=str)
def test_model_when_cut_off_then_is_refused_by_name_or_ends_its_own_process_only(
    fresh: Callable[[str], Running], kind: Kind
) -> None:
    data = kind.linear()
    runner = fresh(kind.runtime)
    for share in (0.3, 0.6, 0.9):
        answer = runner.load(kind.runtime, data[: int(len(data) * share)], LINEAR)
        assert answer["code"] in {"model.not_loadable", "model.bad_signature"}


@pytest.mark.parametrize("kind", FIRSTS, ids=str)
@pytest.mark.parametrize(
    "signature",
    [
        PAIR,
        Signature(inputs=[made.spec("input", -1, 5)], outputs=LINEAR.outputs),
        Signature(inputs=LINEAR.inputs, outputs=[made.spec("output", -1, 4)]),
        Signature(inputs=[made.spec("input", -1, 2, 2)], outputs=LINEAR.outputs),
        Signature(inputs=[made.spec("input", -1, 4, datatype=made.Datatype.INT64)], outputs=LINEAR.outputs),
    ],
    ids=["pair", "axis", "classes", "axes", "datatype"],
)
def test_model_when_not_as_declared_then_is_refused_by_name(
    started: Callable[[str], Running], kind: Kind, signature: Signature
) -> None:
    assert started(kind.runtime).load(kind.runtime, kind.linear(), signature)["code"] == "model.bad_signature"


@pytest.mark.parametrize("kind", FIRSTS, ids=str)
@pytest.mark.parametrize(
    ("tensors", "code"),
    [
        ({"input": np.zeros((2, 3), np.float32)}, "input.bad_shape"),
        ({"input": np.zeros(4, np.float32)}, "input.bad_shape"),
        ({"input": np.zeros((0, 4), np.float32)}, "input.bad_shape"),
        ({"input": np.zeros((1, 4, 1), np.float32)}, "input.bad_shape"),
        ({"input": np.zeros((1, 4), np.int32)}, "input.bad_datatype"),
        ({"other": np.zeros((1, 4), np.float32)}, "input.unknown"),
        ({}, "input.unknown"),
        ({"raw": np.zeros((1, 4), np.float32)}, "input.unknown"),
    ],
)
def test_input_when_not_what_the_model_takes_then_is_refused_by_name(
    started: Callable[[str], Running], kind: Kind, tensors: dict[str, Any], code: str
) -> None:
    runner = started(kind.runtime)
    assert runner.load(kind.runtime, kind.linear(), LINEAR)["ok"]
    assert runner.ask("infer", tensors=encode_tensors(tensors))["code"] == code
    assert runner.infer(input=samples(1))["output"].shape == (1, 3)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_golden_when_model_is_right_then_passes_and_otherwise_not(
    started: Callable[[str], Running], kind: Kind
) -> None:
    runner = started(kind.runtime)
    assert runner.load(kind.runtime, kind.linear(), LINEAR)["ok"]
    right = runner.ask("golden", path=runner.put("golden", golden_of()))
    wrong = runner.ask("golden", path=runner.put("golden", golden_of(WEIGHTS[:, ::-1].copy())))
    assert (right["passed"], right["samples"], right["agreement"]) == (True, 32, 1.0)
    assert right["max_abs_error"] <= kind.tolerance
    assert not wrong["passed"]
    assert runner.ask("golden", path=runner.put("golden", b"junk"))["code"] == "golden.malformed"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_profile_when_asked_then_tells_all_that_a_device_reports(started: Callable[[str], Running], kind: Kind) -> None:
    runner = started(kind.runtime)
    assert runner.load(kind.runtime, kind.linear(), LINEAR)["ok"]
    told = runner.ask("profile", golden=runner.put("golden", golden_of()), runs=20, warm_up=2)
    assert told["golden"]["passed"]
    assert 0 < told["latency_p50_ms"] <= told["latency_p95_ms"] <= told["latency_p99_ms"]
    assert (told["runs"], told["threads"]) == (20, 1)
    assert told["load_s"] > 0
    assert told["peak_memory_bytes"] >= 0
    assert told["runtime_version"]


@pytest.mark.parametrize("kind", FIRSTS, ids=str)
def test_data_set_when_run_then_all_of_it_is_answered_and_measured(
    started: Callable[[str], Running], kind: Kind
) -> None:
    runner, x = started(kind.runtime), samples(100)
    assert runner.load(kind.runtime, kind.linear(), LINEAR)["ok"]
    for named in ({"x": x}, {"x.input": x}):
        answer = runner.ask("outputs", path=runner.put("data", encode_tensors(named)))
        assert answer["samples"] == 100
        np.testing.assert_allclose(decode_tensors(answer["tensors"])["output"], x @ WEIGHTS, atol=kind.tolerance)
    assert runner.ask("measure", path=runner.put("data", encode_tensors({"x": x})), runs=10)["latency_p50_ms"] > 0
    assert runner.ask("outputs", path=runner.put("data", encode_tensors({"z": x})))["code"] == "dataset.malformed"


@pytest.mark.parametrize("kind", FIRSTS, ids=str)
def test_option_when_there_is_none_such_then_is_refused_by_name(started: Callable[[str], Running], kind: Kind) -> None:
    answer = started(kind.runtime).load(kind.runtime, kind.linear(), LINEAR, options={"colour": "blue"})
    assert answer["code"] == "runtime.bad_option"


@pytest.mark.parametrize(
    ("runtime", "option"),
    [
        ("onnxruntime", {"provider": "AbacusExecutionProvider"}),
        ("openvino", {"device": "NPU.7"}),
        ("litert", {"delegate": "/no/such/library.so"}),
        ("torchscript", {"engine": "abacus"}),
        ("armnn", {"backend": "CpuAcc"}),
    ],
)
def test_option_when_it_is_not_available_here_then_is_refused_by_name(
    started: Callable[[str], Running], runtime: str, option: dict[str, str]
) -> None:
    kind = next(one for one in KINDS if one.runtime == runtime)
    answer = started(runtime).load(runtime, kind.linear(), LINEAR, options=option)
    assert answer["code"] == "runtime.bad_option"


@pytest.mark.parametrize("kind", LARGES, ids=str)
def test_memory_when_loaded_and_unloaded_twenty_times_then_is_given_back(
    fresh: Callable[[str], Running], kind: Kind
) -> None:
    """A 16 MiB model leaked in each third load would leave 80 MiB in fifteen, in each load 240.

    OpenVINO keeps the weights of none, one or two models, now more, now less, whatever their number: what grows is seen
    in the least that is left of five times.
    """
    assert kind.large is not None
    runner, data = fresh(kind.runtime), kind.large()

    def load() -> int:
        assert runner.load(kind.runtime, data, LARGE_SIGNATURE)["ok"]
        runner.infer(input=np.ones((1, 2048), np.float32))
        return runner.memory_bytes()

    def left() -> int:
        load()
        runner.ask("unload")
        return runner.memory_bytes()

    for _ in range(3):
        load()
    before = min(left() for _ in range(5))
    loaded = [load() for _ in range(10)]
    after = min(left() for _ in range(5))
    assert min(loaded) - after >= 12 * 2**20
    assert after - before <= 40 * 2**20
    assert runner.ask("infer", tensors=b"")["code"] == "model.not_loaded"


@pytest.mark.parametrize("kind", [one for one in FIRSTS if one.runtime in WITH_COMPANION], ids=str)
def test_runner_when_it_is_killed_then_its_owner_sees_the_end_and_nothing_of_it_is_left(
    fresh: Callable[[str], Running], kind: Kind
) -> None:
    runner = fresh(kind.runtime)
    assert runner.load(kind.runtime, kind.linear(), LINEAR)["ok"]
    inside = psutil.Process(runner.process.pid).children(recursive=True)
    assert len(inside) == 1
    os.kill(runner.process.pid, signal.SIGKILL)
    assert read_frame(runner.connection) is None
    psutil.wait_procs(inside, timeout=10)
    assert [one for one in inside if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGSTOP, "process.hung"), (signal.SIGSEGV, "process.crashed")], ids=["hang", "crash"]
)
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_runner_when_it_hangs_or_crashes_then_is_ended_by_the_deadline_and_said_to_be(
    fresh: Callable[[str], Running], runtime: str, number: int, code: str
) -> None:
    runner = fresh(runtime)
    kind = next(one for one in KINDS if one.runtime == runtime)
    assert runner.load(runtime, kind.linear(), LINEAR)["ok"]
    owner = ChildProcess(runner.process, runner.connection, "the runner")
    os.kill(runner.process.pid, number)
    with pytest.raises(ProcessError) as caught:
        owner.ask("infer", timeout_s=1, tensors=encode_tensors({"input": samples(1)}))
    assert caught.value.code == code
    assert not psutil.pid_exists(runner.process.pid)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"op": "golden", "path": "x"}, "model.not_loaded"),
        ({"op": "load", "runtime": "abacus", "path": "/dev/null"}, "runtime.missing"),
        ({"op": "load", "runtime": "onnxruntime", "path": "/no/such/file"}, "artifact.unreadable"),
        ({"op": "load", "runtime": "onnxruntime", "path": "/dev/null", "signature": {"inputs": 1}}, "request.invalid"),
        ({"op": "dance"}, "request.invalid"),
        ({"op": "load", "colour": "blue"}, "request.invalid"),
    ],
)
def test_runner_when_asked_wrongly_then_says_why_and_goes_on(
    started: Callable[[str], Running], request_: dict[str, Any], code: str
) -> None:
    runner = started("onnxruntime")
    runner.ask("unload")
    assert runner.ask(**request_)["code"] == code
    assert runner.ask(**request_)["code"] == code


def test_raw_data_when_the_model_has_preprocessing_then_is_prepared(started: Callable[[str], Running]) -> None:
    runner = started("onnxruntime")
    steps: Preprocessing = [Window(length=2, step=2), Scale(factor=2.0), Layout(order="nwc")]
    signature = Signature(inputs=[made.spec("input", -1, 2, 2)], outputs=[made.spec("output", -1, 2, 2)])
    loaded = runner.load("onnxruntime", made.identity_onnx(2, 2), signature, preprocessing=msgspec.to_builtins(steps))
    assert loaded["ok"], loaded
    series = np.arange(10, dtype=np.float32).reshape(5, 2)
    output = runner.infer(raw=series)["output"]
    np.testing.assert_array_equal(output, 2 * series[:4].reshape(2, 2, 2))
    assert runner.ask("infer", tensors=encode_tensors({"raw": series.astype(np.int8)}))["code"] == "input.bad_datatype"


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


# ---------------------------------------------------------------- processes beside the runner


def test_arm_nn_when_a_file_is_what_it_does_wrong_then_is_refused_before_it_is_tried(
    started: Callable[[str], Running],
) -> None:
    runner = started("armnn")
    for data in (made.linear_int8_tflite(per_channel=True), made.linear_int8_tflite(is_padded=True)):
        assert runner.load("armnn", data, LINEAR)["code"] == "model.not_supported"
    assert psutil.Process(runner.process.pid).children() == []


@pytest.mark.parametrize("runtime", WITH_COMPANION)
def test_companion_when_it_is_killed_then_the_request_fails_and_the_next_one_starts_it_again(
    started: Callable[[str], Running], runtime: str
) -> None:
    runner = started(runtime)
    kind = next(one for one in KINDS if one.runtime == runtime)
    assert runner.load(runtime, kind.linear(), LINEAR)["ok"]
    (companion,) = psutil.Process(runner.process.pid).children()
    companion.kill()
    assert runner.ask("infer", tensors=encode_tensors({"input": samples(1)}))["code"] == "runtime.crashed"
    np.testing.assert_allclose(runner.infer(input=samples(2))["output"], samples(2) @ WEIGHTS, atol=1e-5)


def test_executable_when_it_crashes_then_the_request_in_it_is_refused_by_name(
    started: Callable[[str], Running],
) -> None:
    runner = started("edgeimpulse")
    assert runner.load("edgeimpulse", made.eim(crash_at=2), LINEAR)["ok"]
    runner.infer(input=samples(1))
    answer = runner.ask("infer", tensors=encode_tensors({"input": samples(1)}))
    assert answer["code"] == "runtime.crashed"
    assert "SIGSEGV" in answer["message"]


@pytest.mark.parametrize("behaviour", [{"ends_at_once": True}, {"junk": "{"}])
def test_executable_when_it_is_no_model_then_is_refused_by_name_at_once(
    started: Callable[[str], Running], behaviour: dict[str, Any]
) -> None:
    start = time.monotonic()
    assert started("edgeimpulse").load("edgeimpulse", made.eim(**behaviour), LINEAR)["code"] == "model.not_loadable"
    assert time.monotonic() - start < 10
