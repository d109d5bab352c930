"""What `shoal up` starts and where, and whether that can be had. Pure but for `check_ports`."""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shoal.cli.errors import CliError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to start.

    Attributes:
        api_host, device_host: Where the controller listens; it reads them itself.
        device_url: What devices call.
        broker_url: A broker that runs already; empty: the embedded one.
        is_unisolated: Whether uploaded programs are opened where the sandbox is missing.
    """

    state: Path
    api_host: str
    api_port: int
    device_host: str
    device_port: int
    device_url: str
    broker_url: str
    broker_port: int
    dashboard_host: str
    dashboard_port: int
    has_dashboard: bool
    is_unisolated: bool

    @property
    def logs(self) -> Path:
        """Folder of the parts' logs."""
        return self.state / "logs"

    @property
    def api_url(self) -> str:
        """The operators' door, as this machine calls it."""
        return f"http://{callable_host(self.api_host)}:{self.api_port}"

    @property
    def dashboard_url(self) -> str | None:
        """The dashboard, if there is one."""
        return f"http://{callable_host(self.dashboard_host)}:{self.dashboard_port}" if self.has_dashboard else None

    @property
    def public_broker_url(self) -> str:
        """The broker without its password."""
        if not self.broker_url:
            return f"mqtt://127.0.0.1:{self.broker_port}"
        parts = urlsplit(self.broker_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def listening(self) -> dict[str, tuple[str, int]]:
        """Give each option of a port that is listened on, with its host and number."""
        listening = {
            "--api-port": (self.api_host, self.api_port),
            "--device-port": (self.device_host, self.device_port),
        }
        if not self.broker_url:
            listening["--broker-port"] = ("127.0.0.1", self.broker_port)
        if self.has_dashboard:
            listening["--dashboard-port"] = (self.dashboard_host, self.dashboard_port)
        return listening


def callable_host(host: str) -> str:
    """Give the name by which this machine calls a host that is listened on.

    >>> callable_host("0.0.0.0"), callable_host("::"), callable_host("10.0.0.7")
    ('127.0.0.1', '[::1]', '10.0.0.7')
    """
    named = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{named}]" if ":" in named else named


def check_ports(plan: Plan) -> None:
    """Find out before anything is started whether every port can be had.

    Raises:
        CliError: `port.in_use`, `port.refused`, `port.twice`.
    """
    taken: dict[int, str] = {}
    for option, (host, port) in plan.listening().items():
        if port in taken:
            raise CliError(
                "port.twice", f"{taken[port]} and {option} are both {port}: give each port a number of its own."
            )
        taken[port] = option
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError as error:
                code = "port.in_use" if error.errno == errno.EADDRINUSE else "port.refused"
                why = "is in use" if code == "port.in_use" else f"cannot be listened on ({error.strerror or error})"
                raise CliError(
                    code, f"Port {port} of {host} {why}: end the program that has it, or choose another with {option}."
                ) from error
