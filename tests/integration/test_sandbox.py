"""A program that an upload brought is code: what hostile code finds in the sandbox, and what ends it.

The programs here are real `.pt2` archives whose loading runs the code of a test.
"""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from controller.jobs.sandbox import Limits, Sandbox
from controller.keys import Keys
from shoal.runtimes.process import ProcessError
from shoal.training.programs import export_programs
from tests.conftest import require
from tests.rig import wait_for

OPENER = "controller.compression.workers.opener"
# Tells what it found in the message of an error, which is what the loader's refusal repeats.
LOOK = """
import json, os, socket, pathlib
def trying(run):
    try:
        return repr(run())
    except Exception as error:
        return type(error).__name__
def connect():
    with socket.create_connection(("127.0.0.1", {port}), 2):
        return "connected"
raise ValueError("FOUND" + json.dumps({{
    "environment": sorted(os.environ),
    "key": trying(lambda: pathlib.Path({state!r}, "signing.key").read_bytes()[:9]),
    "state": trying(lambda: os.listdir({state!r})),
    "network": trying(connect),
    "uid": os.getuid(),
    "package": trying(lambda: pathlib.Path({package!r}, "x").write_text("x")),
    "system": trying(lambda: pathlib.Path("/usr/x").write_text("x")),
    "kill": trying(lambda: os.kill({pid}, 0)),
    "scratch": trying(lambda: pathlib.Path("/tmp/x").write_text("x")),
}}) + "DNUOF")
"""


class _Code:
    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._code, {})


def hostile(code: str) -> bytes:
    """A program that runs `code` when it is loaded: the pickle of its example inputs does."""
    good = export_programs(torch.nn.Linear(4, 3), torch.zeros(2, 4)).eval_program
    pickled, made = io.BytesIO(), io.BytesIO()
    torch.save(_Code(code), pickled)
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(made, "w") as target:
        for entry in source.infolist():
            is_pickle = "sample_inputs" in entry.filename
            target.writestr(entry, pickled.getvalue() if is_pickle else source.read(entry))
    return made.getvalue()


def open_program(sandbox: Sandbox, code: str, *, timeout_s: float = 60) -> ProcessError:
    with pytest.raises(ProcessError) as caught:
        sandbox.ask("open", timeout_s=timeout_s, program=hostile(code))
    return caught.value


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A controller's state with its real keys."""
    Keys.open(tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def start(state: Path) -> Iterator[Callable[..., Sandbox]]:
    """Starts isolated sandboxes; where this machine allows none, says what is missing."""
    started: list[Sandbox] = []

    def make(**limits: int) -> Sandbox:
        started.append(Sandbox.start(OPENER, state=state, allow_unisolated=True, limits=Limits(**limits)))
        missing = started[-1].missing
        require(None if missing else "isolated", f"user namespaces (missing here: {missing})")
        return started[-1]

    yield make
    for sandbox in started:
        sandbox.close()


def test_program_when_hostile_then_finds_no_key_no_network_no_environment_and_no_process(
    start: Callable[..., Sandbox], state: Path
) -> None:
    assert (state / "signing.key").read_bytes().startswith(b"-----")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        code = LOOK.format(
            state=str(state),
            port=listening.getsockname()[1],
            package=str(Path(__file__).parents[2] / "shoal"),
            pid=os.getpid(),
        )
        refused = open_program(start(), code)
    assert refused.code == "program.not_loadable"
    found = json.loads(str(refused).partition("FOUND")[2].partition("DNUOF")[0])
    assert found.pop("uid") != 0
    assert found == {
        "environment": ["HOME", "TORCHINDUCTOR_CACHE_DIR"],  # the second is torch's own doing
        "key": "FileNotFoundError",
        "state": "FileNotFoundError",
        "network": "OSError",
        "package": "OSError",
        "system": "OSError",
        "kill": "ProcessLookupError",
        "scratch": "1",
    }


def test_program_when_another_python_opens_it_then_finds_that_one_isolated_and_not_ours(
    state: Path, toolchain_python: Path
) -> None:
    """The other Python has Shoal's code, and nothing of what is installed beside it."""
    code = """
import importlib.util, json, os, sys
raise ValueError("FOUND" + json.dumps([
    sys.prefix, os.path.exists({state!r}), importlib.util.find_spec("sqlalchemy") is None, os.getuid() != 0,
]) + "DNUOF")
"""
    sandbox = Sandbox.start(
        "controller.compression.workers.converter",
        state=state,
        allow_unisolated=False,
        limits=Limits(memory_bytes=12 * 2**30),
        interpreter=toolchain_python,
    )
    spec = {"datatype": "FP32", "shape": [-1, 4]}
    with pytest.raises(ProcessError) as caught:
        sandbox.ask(
            "convert",
            timeout_s=120,
            converter="torchscript",
            precision="fp32",
            signature={"inputs": [{"name": "input", **spec}], "outputs": [{"name": "output", **spec}]},
            program=sandbox.put("program", [hostile(code.format(state=str(state)))]),
        )
    sandbox.close()
    assert caught.value.code == "program.not_loadable"
    found = json.loads(str(caught.value).partition("FOUND")[2].partition("DNUOF")[0])
    assert found == [str(toolchain_python.parent.parent), False, True, True]


def test_program_when_it_does_not_end_then_is_killed_at_its_time(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    assert open_program(sandbox, "while True: pass", timeout_s=8).code == "process.hung"
    assert not sandbox.is_running


def test_program_when_its_processor_time_is_used_up_then_is_killed(start: Callable[..., Sandbox]) -> None:
    refused = open_program(start(cpu_s=6), "while True: pass")
    assert (refused.code, "SIGKILL" in str(refused) or "SIGXCPU" in str(refused)) == ("process.crashed", True)


def test_program_when_it_wants_more_memory_than_its_limit_then_is_refused(start: Callable[..., Sandbox]) -> None:
    assert open_program(start(memory_bytes=3 * 2**30), "bytearray(4 * 2**30)").code == "program.over_limit"


def test_program_when_it_forks_without_end_then_its_children_end_with_it(start: Callable[..., Sandbox]) -> None:
    us = psutil.Process()
    before = set(us.children(recursive=True))
    sandbox = start(processes=8)
    code = "import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(600)"
    assert "BlockingIOError" in str(open_program(sandbox, code))
    inside = set(us.children(recursive=True)) - before
    assert 4 <= len(inside) < 16
    sandbox.close()
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in inside))


def test_program_when_it_fills_its_scratch_then_gets_an_error(start: Callable[..., Sandbox]) -> None:
    code = "for i in range(9): open(f'/tmp/{i}', 'wb').write(bytes(2**20))"
    assert "OSError" in str(open_program(start(scratch_bytes=4 * 2**20), code))


def test_program_when_it_crashes_natively_then_its_owner_sees_how(start: Callable[..., Sandbox]) -> None:
    refused = open_program(start(), "import ctypes; ctypes.string_at(0)")
    assert (refused.code, "SIGSEGV" in str(refused)) == ("process.crashed", True)


def test_sandbox_when_its_owner_is_killed_then_nothing_is_left(state: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from controller.jobs.sandbox import Sandbox; "
        f"Sandbox.start({OPENER!r}, state=Path({str(state)!r}), allow_unisolated=True); "
        "print('started', flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "started\n"
    inside = psutil.Process(owner.pid).children(recursive=True)
    assert len(inside) >= 3
    owner.kill()
    owner.communicate()
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in inside))
    wait_for(lambda: not list(tmp_path.glob("shoal-sandbox-*")))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a capability away, which only root has")
def test_sandbox_when_the_machine_allows_none_then_is_refused_naming_what_is_missing(state: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from controller.errors import Forbidden\n"
        "from controller.jobs.sandbox import Sandbox\n"
        "Path('/proc/sys/user/max_user_namespaces').write_text('0')\n"
        "try:\n"
        f"    Sandbox.start({OPENER!r}, state=Path({str(state)!r}), allow_unisolated=False)\n"
        "except Forbidden as error:\n"
        "    print(error.code, error.facts['missing'])\n"
    )
    # In a user namespace of its own, where the count of further ones can be set to none.
    command = ["unshare", "--user", "--map-root-user", "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    done = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "program.not_isolated ['files', 'network', 'processes', 'user']\n"


def test_sandbox_when_unisolated_is_allowed_then_runs_with_what_there_is(state: Path) -> None:
    sandbox = Sandbox.start("shoal.runtimes.runner", state=state, allow_unisolated=True)
    with pytest.raises(ProcessError) as caught:
        sandbox.ask("golden", timeout_s=30, path="x")
    assert caught.value.code == "model.not_loaded"
    sandbox.close()


def test_sandbox_when_asked_by_many_threads_then_answers_each_its_own(state: Path) -> None:
    sandbox = Sandbox.start("shoal.runtimes.runner", state=state, allow_unisolated=True)
    codes: dict[int, str] = {}

    def ask(number: int) -> None:
        with pytest.raises(ProcessError) as caught:
            sandbox.ask("load", timeout_s=30, runtime=f"runtime{number}", path="/dev/null")
        codes[number] = str(caught.value)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [f"runtime{number}" in codes[number] for number in range(8)] == [True] * 8
    sandbox.close()
