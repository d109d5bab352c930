"""What an idle enrolled agent costs: a real agent with default settings on a real controller and Mosquitto over TLS,
online, with nothing to serve. Resident memory, its share of one core, and the bytes a day on the wire.

`python -m benchmarks.agent_footprint [--quick]`. The bytes are those of the TCP payload, TLS included, in both
directions, of the broker's and of the device's door, counted by a proxy on the loopback while two messages of telemetry
and ten words of the controller's clock go by (600 s), times 144; enrolment, and what follows it, is not among them.
`--quick` leaves the bytes out: in under a minute neither goes by. No peer runs beside it: figures of others stand in
their own documents, and their agents need services that this machine has not.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil

from benchmarks._rig import Case, running_system, wait_for
from scenarios.stage import free_ports
from shoal.schemas.devices import EnrollmentTokenRequest

AIM_MB: Final = 45.0
AIM_CORE_RATIO: Final = 0.005
AIM_BYTES_PER_DAY: Final = 1e6
_SETTLE_S: Final = 60.0  # what only the start needed has gone by then
_QUICK_SETTLE_S: Final = 15.0
_WINDOW_S: Final = 600.0
_QUICK_WINDOW_S: Final = 25.0
_DAY_S: Final = 86_400.0


class Proxy:
    """Passes TCP on, and counts."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.bytes = 0
        self.port = 0
        self._is_ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._is_ready.wait()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_ready.set()
        await server.serve_forever()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                self.bytes += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Idle:
    """An agent that idles."""

    process: psutil.Process
    proxies: tuple[Proxy, ...]

    def cpu_s(self) -> float:
        """Give the processor time that it has used."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def wire_bytes(self) -> int:
        """Give what went by."""
        return sum(proxy.bytes for proxy in self.proxies)


def main() -> int:
    """Measure once; gives 0 if the aims are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent_footprint", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a shorter time, without the bytes")
    options = parser.parse_args()
    window_s = _QUICK_WINDOW_S if options.quick else _WINDOW_S
    with tempfile.TemporaryDirectory(prefix="shoal-footprint-") as folder, _idle_agent(Path(folder)) as idle:
        time.sleep(_QUICK_SETTLE_S if options.quick else _SETTLE_S)
        began, cpu_s, wire_bytes = time.monotonic(), idle.cpu_s(), idle.wire_bytes()
        time.sleep(window_s)
        lasted_s = time.monotonic() - began
        core_ratio = (idle.cpu_s() - cpu_s) / lasted_s
        bytes_per_day = (idle.wire_bytes() - wire_bytes) / lasted_s * _DAY_S
        children = idle.process.children(recursive=True)
        if children:
            raise RuntimeError(f"an idle agent has no child, this one has {[child.name() for child in children]}")
        resident_mb = idle.process.memory_info().rss / 1e6
    cases = [
        _case("resident memory", "MB", round(resident_mb, 1), AIM_MB),
        _case("processor time", "share of one core", round(core_ratio, 5), AIM_CORE_RATIO),
    ]
    if not options.quick:
        cases.append(_case("bytes on the wire", "bytes a day", round(bytes_per_day), AIM_BYTES_PER_DAY))
    for case in cases:
        case.tell()
    return 0 if all(case.met for case in cases) else 1


def _case(metric: str, unit: str, ours: float, aim: float) -> Case:
    return Case(
        benchmark="agent_footprint",
        case="idle enrolled agent",
        metric=metric,
        unit=unit,
        ours=ours,
        aim=aim,
        met=ours <= aim,
    )


@contextmanager
def _idle_agent(folder: Path) -> Iterator[Idle]:
    state = folder / "controller"
    with ExitStack() as opened:
        port = opened.enter_context(_mosquitto(folder / "mosquitto", state))
        broker = Proxy(port)
        os.environ["SHOAL_BROKER_URL"] = f"mqtts://127.0.0.1:{port}"
        os.environ["SHOAL_DEVICE_BROKER_URL"] = f"mqtts://127.0.0.1:{broker.port}"
        address, client = opened.enter_context(running_system(state))
        door = Proxy(urlsplit(address.device_url).port or 443)
        told = {
            "SHOAL_AGENT_STATE": str(folder / "device"),
            "SHOAL_AGENT_CONFIG": os.devnull,
            "SHOAL_AGENT_TOKEN": client.enrollment_tokens.create(EnrollmentTokenRequest()).token,
            "SHOAL_AGENT_CONTROLLER_URL": f"https://127.0.0.1:{door.port}",
        }
        agent = opened.enter_context(_running([sys.executable, "-m", "agent", "run"], told))
        wait_for(lambda: client.devices.fleet().online == 1, "the agent online")
        yield Idle(psutil.Process(agent.pid), (broker, door))


@contextmanager
def _mosquitto(folder: Path, state: Path) -> Iterator[int]:
    """Run Mosquitto with mTLS, as `shoal broker config` writes it for the controller whose keys lie in `state`."""
    port = free_ports(["broker"], {})["broker"]
    options = [
        "--host",
        "127.0.0.1",
        "--listen",
        "127.0.0.1",
        "--port",
        str(port),
        "--user",
        psutil.Process().username(),
    ]
    subprocess.run(
        [sys.executable, "-m", "shoal.cli", "broker", "config", "--output", folder, *options],
        env={**os.environ, "SHOAL_STATE": str(state)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with _running(["mosquitto", "-c", str(folder / "mosquitto.conf")], {}):
        yield port


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
