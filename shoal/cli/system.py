"""The whole system on embedded defaults: broker, controller and dashboard as child processes, until a signal comes.

What to start and where is the `plan`; how it is told to people is `up`'s. All goes by environment: `shoal` imports no
side.
"""

import os
import secrets
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import httpx

from shoal.cli import embedded_broker
from shoal.cli.errors import CliError
from shoal.cli.plan import Plan, callable_host
from shoal.cli.processes import SIGNALS, Child, reap_orphans, sweep

USERNAME: Final = "admin"
_PASSWORD_LINE: Final = "SHOAL_ADMIN_PASSWORD "  # noqa: S105 (how the controller's line begins)
_READY_S: Final = 120.0
_STARTING_LOOK_S: Final = 0.05
_RUNNING_LOOK_S: Final = 1.0
# The parts in the order in which they end, with the time that each may take: 14 s in all.
_GRACES_S: Final = {"dashboard": 2.0, "controller": 10.0, "broker": 2.0}


class System:
    """The running parts. One `run` each."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._children: dict[str, Child] = {}
        self._signals = 0
        self._said = b""
        self.password: str | None = None  # the controller says it at its first start only

    def run(self, on_ready: Callable[["System"], None]) -> None:
        """Start everything, tell when it is ready, and stay until a signal comes; nothing is left afterwards.

        Raises:
            CliError: `up.part_ended`, `up.not_ready`, `up.broker`.
        """
        with self._waking() as wake:
            try:
                self._start(wake)
                self._wait(wake, _STARTING_LOOK_S, self._is_ready)
                if not self._signals:
                    self._read_controller()  # it says the password before it answers
                    on_ready(self)
                    self._wait(wake, _RUNNING_LOOK_S, lambda: False)
            finally:
                self._end()

    def _start(self, wake: socket.socket) -> None:
        plan = self._plan
        broker_url = plan.broker_url
        if not broker_url:
            password = _kept_password(plan.state / "broker.password")
            config = embedded_broker.write_config(plan.state, port=plan.broker_port, password=password)
            self._add("broker", ["-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"], {})
            self._wait(wake, _STARTING_LOOK_S, lambda: _is_listening("127.0.0.1", plan.broker_port))
            broker_url = f"mqtt://{embedded_broker.USER}:{password}@127.0.0.1:{plan.broker_port}"
        controller = {
            "SHOAL_STATE": str(plan.state),
            "SHOAL_BROKER_URL": broker_url,
            "SHOAL_API_HOST": plan.api_host,
            "SHOAL_API_PORT": str(plan.api_port),
            "SHOAL_DEVICE_HOST": plan.device_host,
            "SHOAL_DEVICE_PORT": str(plan.device_port),
            "SHOAL_DEVICE_URL": plan.device_url,
            "SHOAL_ALLOW_UNISOLATED": str(int(plan.is_unisolated)),
        }
        self._add("controller", ["-m", "controller", "all"], controller, pipe=True)
        if plan.has_dashboard:
            dashboard = {
                "SHOAL_DASHBOARD_API_URL": plan.api_url,
                "SHOAL_DASHBOARD_HOST": plan.dashboard_host,
                "SHOAL_DASHBOARD_PORT": str(plan.dashboard_port),
            }
            self._add("dashboard", ["-m", "dashboard"], dashboard)

    def _add(self, name: str, arguments: list[str], environment: dict[str, str], *, pipe: bool = False) -> None:
        if not self._signals:
            log = self._plan.logs / f"{name}.log"
            self._children[name] = Child(name, arguments, environment=environment, log=log, pipe=pipe)

    def _wait(self, wake: socket.socket, look_interval_s: float, is_reached: Callable[[], bool]) -> None:
        """Wait until something is reached or a signal comes.

        Raises:
            CliError: `up.part_ended`, or `up.not_ready` after two minutes of starting.
        """
        deadline = time.monotonic() + _READY_S
        is_starting = look_interval_s < _RUNNING_LOOK_S
        while not self._signals and not is_reached():
            watched: list[socket.socket | IO[bytes]] = [wake]
            if "controller" in self._children:
                watched.append(self._children["controller"].output)
            select.select(watched, [], [], look_interval_s)
            with suppress(BlockingIOError):
                wake.recv(4096)
            self._read_controller()
            reap_orphans(tuple(child.process.pid for child in self._children.values()))
            for child in self._children.values():
                if child.has_ended():
                    self._read_controller()
                    raise self._early(child)
            if is_starting and time.monotonic() > deadline:
                raise CliError("up.not_ready", f"Not ready after {_READY_S:.0f} s: see {self._plan.logs}.")

    def _early(self, child: Child) -> CliError:
        said = child.last_line() or f"exit code {child.process.returncode}, nothing logged"
        return CliError("up.part_ended", f"The {child.name} ended by itself: {said.rstrip('.')}. See {child.log}.")

    def _is_ready(self) -> bool:
        plan = self._plan
        if not _is_listening(callable_host(plan.device_host), plan.device_port):
            return False
        answering = [f"{plan.api_url}/v1/health", *([plan.dashboard_url] if plan.dashboard_url else [])]
        return all(_answers(url) for url in answering)

    def _read_controller(self) -> None:
        """Take what the controller wrote: the password stays in memory, the rest goes into its log."""
        controller = self._children.get("controller")
        if controller is None:
            return
        while select.select([controller.output], [], [], 0)[0]:
            data = os.read(controller.output.fileno(), 65536)
            if not data:
                break
            self._said += data
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            if text.startswith(_PASSWORD_LINE):
                self.password = text.removeprefix(_PASSWORD_LINE)
            else:
                with controller.log.open("ab") as log:
                    log.write(line + b"\n")

    def _end(self) -> None:
        signals = self._signals
        for name, grace_s in _GRACES_S.items():
            if name in self._children:
                self._children[name].end(grace_s, lambda: self._signals > max(1, signals))
        sweep()

    @contextmanager
    def _waking(self) -> Iterator[socket.socket]:
        """Let signals be counted and wake a `select`."""

        def count(_number: int, _frame: object) -> None:
            self._signals += 1

        wake, woken = socket.socketpair()
        with wake, woken:
            wake.setblocking(False)
            woken.setblocking(False)
            for number in SIGNALS:
                signal.signal(number, count)
            signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
            signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            try:
                yield wake
            finally:
                signal.set_wakeup_fd(-1)


def _kept_password(path: Path) -> str:
    """Give the embedded broker's password, made at the first start."""
    with suppress(FileNotFoundError):
        if kept := path.read_text().strip():
            return kept
    password = secrets.token_urlsafe(24)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(password)
    return password


def _is_listening(host: str, port: int) -> bool:
    try:
        socket.create_connection((host.strip("[]"), port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False
