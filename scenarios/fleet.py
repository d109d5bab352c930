"""The processes of a scenario: `shoal up` and the agents, each in a session of its own, all ended with the scenario."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scenarios.errors import StepFailed

_PR_SET_PDEATHSIG: Final = 1
_STOP_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the system that was started answers, and who may log in."""

    dashboard_url: str
    api_url: str
    device_url: str
    username: str
    password: str


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """One agent.

    Attributes:
        state: Its folder; the log stands in it.
        runtimes: What it offers, comma-separated.
        python: That it runs on.
    """

    state: Path
    runtimes: str
    token: str
    device_url: str
    python: str = sys.executable

    @property
    def data(self) -> Path:
        """Where its local data sets stand."""
        return self.state / "data"


@contextmanager
def system(state: Path, ports: dict[str, int]) -> Iterator[Address]:
    """Start everything on embedded defaults with `shoal up`; end it afterwards.

    Args:
        state: Folder of the controller.
        ports: `api`, `device`, `broker`, `dashboard`.

    Raises:
        StepFailed: It did not start; says why.
    """
    arguments = [f"--{name}-port={port}" for name, port in ports.items()]
    process = _start(
        ["-m", "shoal.cli", "up", "--json", "--state", str(state), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, reason = process.communicate()
            raise StepFailed(reason.strip() or f"shoal up ended with {process.returncode}")
        told = json.loads(line)
        wanted = ("dashboard_url", "api_url", "device_url", "username", "password")
        yield Address(**{name: told[name] or "" for name in wanted})
    finally:
        _stop([process])


@contextmanager
def agents(settings: list[AgentSettings]) -> Iterator[list[subprocess.Popen[str]]]:
    """Start agents as processes; end them afterwards."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for one in settings:
            one.state.mkdir(parents=True, exist_ok=True)
            environment = {
                "SHOAL_AGENT_STATE": str(one.state),
                "SHOAL_AGENT_CONFIG": os.devnull,  # whatever this machine has for an agent of its own
                "SHOAL_AGENT_INSTANCE": one.state.name,  # several on one machine
                "SHOAL_AGENT_RUNTIMES": one.runtimes,
                "SHOAL_AGENT_TOKEN": one.token,
                "SHOAL_AGENT_CONTROLLER_URL": one.device_url,
                "SHOAL_AGENT_TELEMETRY_INTERVAL_S": "5",
            }
            with (one.state / "agent.log").open("ab") as log:
                arguments = ["-m", "agent", "run"]
                processes.append(_start(arguments, environment, python=one.python, stdout=log, stderr=log))
        yield processes
    finally:
        _stop(processes)


def _start(
    arguments: list[str], environment: dict[str, str] | None = None, *, python: str = sys.executable, **streams: Any
) -> subprocess.Popen[str]:
    # A session of its own: Ctrl-C reaches the scenario alone, which then ends these in order.
    return subprocess.Popen(
        [python, *arguments],
        env={**os.environ, **(environment or {})},
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent(),
        **streams,
    )


def _stop(processes: list[subprocess.Popen[str]]) -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> Callable[[], None]:
    """Let the kernel end a child when the scenario dies, kill -9 too; loaded here, before the fork."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def before_exec() -> None:
        if library is not None:
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return before_exec
