"""How much memory an idle enrolled agent holds: a real agent on a real controller, online, with nothing to serve.

`python -m benchmarks.agent_footprint [--quick]`. No peer runs beside it: figures of others stand in their own
documents, and their agents need services that this machine has not.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from scenarios.fleet import Address, AgentSettings, agents, system
from scenarios.stage import free_ports
from shoal.client import Client
from shoal.schemas.devices import EnrollmentTokenRequest

AIM_MB: Final = 45.0
_SETTLE_S: Final = 10.0  # what only the start needed has gone by then
_QUICK_SETTLE_S: Final = 3.0


def main() -> int:
    """Measure once; gives 0 if the aim is met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent_footprint", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="let it settle for a shorter time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-footprint-") as folder, _idle_agent(Path(folder)) as process:
        time.sleep(_QUICK_SETTLE_S if options.quick else _SETTLE_S)
        children = process.children(recursive=True)
        if children:
            raise RuntimeError(f"an idle agent has no child, this one has {[child.name() for child in children]}")
        resident_mb = process.memory_info().rss / 1e6
    sys.stdout.write(json.dumps(_case(resident_mb)) + "\n")
    return 0 if resident_mb <= AIM_MB else 1


@contextmanager
def _idle_agent(folder: Path) -> Iterator[psutil.Process]:
    with ExitStack() as opened:
        ports = free_ports(["api", "device", "broker", "dashboard"], {})
        address = opened.enter_context(system(folder / "controller", ports))
        client = opened.enter_context(_logged_in(address))
        token = client.enrollment_tokens.create(EnrollmentTokenRequest()).token
        settings = AgentSettings(state=folder / "device", runtimes="", token=token, device_url=address.device_url)
        (started,) = opened.enter_context(agents([settings]))
        _wait_for(lambda: client.devices.fleet().online == 1)
        yield psutil.Process(started.pid)


@contextmanager
def _logged_in(address: Address) -> Iterator[Client]:
    with Client(address.api_url) as stranger:
        token = stranger.tokens.create(address.username, address.password).token
    with Client(address.api_url, token) as client:
        yield client


def _wait_for(is_there: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_there():
        if time.monotonic() > deadline:
            raise TimeoutError("the agent did not come online")
        time.sleep(0.1)


def _case(resident_mb: float) -> dict[str, Any]:
    return {
        "benchmark": "agent_footprint",
        "case": "idle enrolled agent",
        "metric": "resident memory",
        "unit": "MB",
        "ours": round(resident_mb, 1),
        "peer": None,
        "peer_name": None,
        "ratio": None,
        "aim": AIM_MB,
        "met": resident_mb <= AIM_MB,
    }


if __name__ == "__main__":
    sys.exit(main())
