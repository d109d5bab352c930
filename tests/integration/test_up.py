"""`shoal up` as a process: starts everything, says where, and leaves nothing behind however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from shoal.client import Client
from shoal.schemas.artifacts import DatasetRequest, EvaluationRequest, ModelRequest, VersionRequest
from shoal.wire.tensors import encode_tensors
from tests.compressing import split, trained
from tests.registry import looked_at, one_input
from tests.rig import free_port, is_listening, wait_for

OPTIONS = ("--api-port", "--device-port", "--broker-port", "--dashboard-port")
EVALUATION = EvaluationRequest(dataset="heldout")


class Up:
    """`shoal up` on free ports."""

    def __init__(self, state: Path, *arguments: str) -> None:
        self.state = state
        self.ports = {option: free_port() for option in OPTIONS}
        given = [part for option, port in self.ports.items() for part in (option, str(port))]
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
        self.command = [sys.executable, "-m", "shoal.cli", "up", "--state", str(state), *given, *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def outcome(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return process.returncode, out, err


class Running:
    """A system that is ready, and its processes."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.process = up.start("--json")
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.said: dict[str, Any] = json.loads(line)
        self.parts = self.descendants()

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def part(self, *words: str) -> psutil.Process:
        (found,) = [part for part in self.parts if set(words) <= set(part.cmdline())]
        return found

    def part_is_running(self, *words: str) -> bool:
        return any(set(words) <= set(part.cmdline()) for part in self.left())

    def await_end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=40)
        assert "Traceback" not in err, err
        wait_for(lambda: not self.left())
        return self.process.returncode, out, err

    def left(self) -> list[psutil.Process]:
        return [part for part in self.parts if part.is_running() and part.status() != psutil.STATUS_ZOMBIE]

    def close(self) -> None:
        self.process.terminate()
        self.await_end()


def start_job(client: Client) -> None:
    """Register the digits and have them evaluated."""
    files, heldout = trained(), split().heldout
    labels = [str(label) for label in range(10)]
    client.models.create(ModelRequest(name="digits", signature=one_input([1, 8, 8], 10), class_labels=labels))
    data = client.artifacts.create(encode_tensors({"x": heldout.x, "y": heldout.y})).sha256
    client.datasets.create(DatasetRequest(name="heldout", role="evaluation", sha256=data))
    request = VersionRequest(
        train_program=client.artifacts.create(files.train_program).sha256,
        eval_program=client.artifacts.create(files.eval_program).sha256,
        weights=client.artifacts.create(files.weights).sha256,
    )
    version = looked_at(client, client.models.create_version("digits", request))
    client.models.evaluate("digits", version.number, EVALUATION)


@pytest.fixture
def up(tmp_path: Path) -> Up:
    return Up(tmp_path / "state")


@pytest.fixture
def running(up: Up) -> Iterator[Running]:
    running = Running(up)
    yield running
    running.close()


def test_up_when_started_then_says_where_everything_is_and_one_can_log_in(running: Running) -> None:
    ports = running.up.ports
    said = running.said
    assert said == {
        "dashboard_url": f"http://127.0.0.1:{ports['--dashboard-port']}",
        "api_url": f"http://127.0.0.1:{ports['--api-port']}",
        "device_url": f"https://127.0.0.1:{ports['--device-port']}",
        "broker_url": f"mqtt://127.0.0.1:{ports['--broker-port']}",
        "username": "admin",
        "password": said["password"],
        "state": str(running.up.state),
    }
    with Client(said["api_url"]) as anonymous:
        token = anonymous.tokens.create("admin", said["password"]).token
    with Client(said["api_url"], token) as client:
        assert client.devices.fleet().total == 0
        events = wait_for(lambda: client.observe.events(name="gateway.session_begun").items)
        assert events[0].subject == "controller-1"
    assert httpx.get(said["dashboard_url"], follow_redirects=True).status_code == 200
    assert all(is_listening(port) for port in ports.values())
    listening = {
        connection.laddr.ip
        for part in running.parts
        for connection in part.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_up_when_started_then_secrets_are_its_owners_alone(running: Running) -> None:
    state = running.up.state
    for name in ("broker.password", "broker.toml", "up.lock", "logs/controller.log", "logs/broker.log"):
        assert (state / name).stat().st_mode & 0o077 == 0, name
    assert state.stat().st_mode & 0o077 == 0
    logs = "".join(path.read_text() for path in (state / "logs").iterdir())
    assert running.said["password"] not in logs
    assert (state / "broker.password").read_text() not in logs
    told = " ".join(word for part in running.parts for word in part.cmdline())
    assert (state / "broker.password").read_text() not in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_when_a_signal_comes_then_ends_with_0_and_leaves_no_process(up: Up, number: int) -> None:
    running = Running(up)
    running.process.send_signal(number)
    assert running.await_end() == (0, "", "")
    assert not any(is_listening(port) for port in up.ports.values())


def test_up_when_interrupted_while_it_starts_then_ends_with_0_and_one_word(up: Up) -> None:
    process = up.start()
    assert process.stderr is not None
    assert process.stderr.readline() == f"Starting; the logs are in {up.state / 'logs'}.\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=40)
    assert (process.returncode, out, err) == (0, "", "All has ended.\n")


def test_up_when_killed_then_leaves_no_process(up: Up) -> None:
    running = Running(up)
    running.process.kill()
    assert running.await_end()[0] == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_up_when_it_ends_while_a_job_runs_then_nothing_of_ray_is_left(up: Up, number: int) -> None:
    running = Running(up)
    with Client(running.said["api_url"]) as anonymous:
        token = anonymous.tokens.create("admin", running.said["password"]).token
    with Client(running.said["api_url"], token) as client:
        start_job(client)
    wait_for(lambda: "raylet" in [part.name() for part in running.descendants()], 60)
    running.parts = running.descendants()
    running.process.send_signal(number)
    running.await_end()


def test_up_when_its_inner_process_is_killed_then_leaves_no_process_and_says_so(up: Up) -> None:
    running = Running(up)
    (inner,) = psutil.Process(running.process.pid).children()
    inner.kill()
    code, _, err = running.await_end()
    assert (code, err.strip().endswith("[up.killed]")) == (1, True)


def test_up_when_a_part_ends_then_the_others_are_ended_and_its_last_words_are_told(up: Up) -> None:
    running = Running(up)
    running.part("controller", "all").kill()
    code, _, err = running.await_end()
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("The controller ended by itself: ")
    assert err.endswith("[up.part_ended]\n")


def test_up_when_a_part_is_stuck_then_it_is_killed_on_the_second_signal(up: Up) -> None:
    running = Running(up)
    running.part("controller", "all").suspend()
    start = time.monotonic()
    running.process.terminate()
    wait_for(lambda: not running.part_is_running("dashboard"))
    running.process.terminate()
    assert running.await_end()[0] == 0
    assert time.monotonic() - start < 9  # less than the controller's own grace


def test_up_when_started_again_then_the_password_stays_and_is_not_shown(up: Up) -> None:
    first = Running(up)
    first.close()
    second = Running(up)
    try:
        assert second.said["password"] is None
        with Client(second.said["api_url"]) as client:
            assert client.tokens.create("admin", first.said["password"]).username == "admin"
        assert (up.state / "logs/controller.log.1").exists()
    finally:
        second.close()


def test_up_when_another_holds_the_folder_then_says_which(running: Running) -> None:
    code, out, err = running.up.outcome()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"(process {running.process.pid})" in err
    assert err.endswith("[up.already_running]\n")
    assert running.process.poll() is None


@pytest.mark.parametrize("option", OPTIONS)
def test_up_when_a_port_is_in_use_then_says_which_before_anything_is_started(up: Up, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", up.ports[option]))
        taken.listen()
        code, out, err = up.outcome()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"Port {up.ports[option]} of 127.0.0.1 is in use: ")
    assert f"choose another with {option}. [port.in_use]" in err
    assert not (up.state / "logs").exists()


def test_up_when_two_ports_are_the_same_then_says_so(up: Up) -> None:
    code, _, err = up.outcome("--api-port", "9000", "--device-port", "9000")
    assert (code, err) == (
        1,
        "--api-port and --device-port are both 9000: give each port a number of its own. [port.twice]\n",
    )


def test_up_when_the_state_folder_cannot_be_used_then_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = Up(tmp_path / "file" / "state").outcome()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "give another with --state. [up.state_unusable]" in err


def test_up_when_the_disk_is_full_then_says_so(up: Up) -> None:
    limited = (
        "import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)); "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); sys.argv = ['shoal', *sys.argv[1:]]; "
        "from shoal.cli.main import main; main()"
    )
    up.command[1:3] = ["-c", limited]
    code, out, err = up.outcome("--json")
    assert (code, out, err.strip().count("\n")) == (1, "", 0), err
    assert err.startswith("The controller ended by itself: ")


def test_up_when_people_read_it_then_says_what_they_must_know(up: Up) -> None:
    process = up.start("--no-dashboard")
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        said += process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0
    assert "left out" in said
    assert "(shown this once: keep it)" in said
    assert f"https://127.0.0.1:{up.ports['--device-port']}" in said
    assert "SHOAL_ALLOW_UNISOLATED=1" in said
    assert "Ray" in said
    assert f"the logs are in {up.state / 'logs'}" in err
