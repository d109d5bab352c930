"""How much memory an idle enrolled agent holds: a real agent on a real controller, online, with nothing to serve.

`python -m benchmarks.agent_footprint [--quick]`. No peer runs beside it: figures of others stand in their own
documents, and their agents need services that this machine has not.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks._rig import Case, running_system, wait_for
from scenarios.fleet import AgentSettings, agents
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
    case = Case(
        benchmark="agent_footprint",
        case="idle enrolled agent",
        metric="resident memory",
        unit="MB",
        ours=round(resident_mb, 1),
        aim=AIM_MB,
        met=resident_mb <= AIM_MB,
    )
    case.tell()
    return 0 if case.met else 1


@contextmanager
def _idle_agent(folder: Path) -> Iterator[psutil.Process]:
    with ExitStack() as opened:
        address, client = opened.enter_context(running_system(folder / "controller"))
        token = client.enrollment_tokens.create(EnrollmentTokenRequest()).token
        settings = AgentSettings(state=folder / "device", runtimes="", token=token, device_url=address.device_url)
        (started,) = opened.enter_context(agents([settings]))
        wait_for(lambda: client.devices.fleet().online == 1, "the agent online")
        yield psutil.Process(started.pid)


if __name__ == "__main__":
    sys.exit(main())
