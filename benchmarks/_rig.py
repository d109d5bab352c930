"""What the scripts share: a running system with a client that is logged in, waiting, and the form of a result."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from scenarios.fleet import Address, system
from scenarios.stage import free_ports
from shoal.client import Client


@dataclass(frozen=True, kw_only=True)
class Case:
    """A result.

    Attributes:
        ratio: How many times better we are than the peer: 2.0 is half the time, half the memory, or twice the rate.
        aim: The ratio to reach; without a peer, the bound on `ours`.
    """

    benchmark: str
    case: str
    metric: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    aim: float
    met: bool

    def tell(self) -> None:
        """Print it, one JSON line."""
        sys.stdout.write(json.dumps(asdict(self)) + "\n")
        sys.stdout.flush()


@contextmanager
def running_system(state: Path) -> Iterator[tuple[Address, Client]]:
    """Start everything on free ports; gives where it answers, and a client that is logged in."""
    with ExitStack() as opened:
        ports = free_ports(["api", "device", "broker", "dashboard"], {})
        address = opened.enter_context(system(state, ports))
        with Client(address.api_url) as stranger:
            token = stranger.tokens.create(address.username, address.password).token
        yield address, opened.enter_context(Client(address.api_url, token))


def wait_for(is_there: Callable[[], bool], what: str, *, interval_s: float = 0.1, timeout_s: float = 60.0) -> None:
    """Look until something is so.

    Raises:
        TimeoutError: It did not become so; names `what`.
    """
    deadline = time.monotonic() + timeout_s
    while not is_there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(interval_s)
