"""The devices of one process: joining at a pace, counted each second, ended in order."""

import asyncio
import logging
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import urllib3

from agent.errors import AgentError
from agent.simulator.counters import Counters, Progress
from agent.simulator.device import Fleet, VirtualDevice
from agent.simulator.downloads import Downloads
from agent.simulator.population import machine
from agent.simulator.profile import Profile
from agent.simulator.store import Store

_log: Final = logging.getLogger(__name__)
_WORKERS: Final = 32  # threads: TLS handshakes, enrolments and transfers that wait for the network
_SPARE_FILES: Final = 256
_TELL_INTERVAL_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be simulated.

    Attributes:
        numbers: The devices of this process.
        join_rate_per_s: How many join in a second; 0: all at once.
        duration_s: When to end; 0: when told to.
    """

    state: Path
    seed: int
    numbers: range
    controller_url: str
    token: str
    join_rate_per_s: float
    duration_s: float
    profile: Profile


def require_files(devices: int) -> None:
    """Let this process open as many files as it has devices.

    Raises:
        AgentError: `simulator.too_many_devices`.
    """
    needed = devices + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        message = (
            f"{devices} devices need {needed} open files, and a process may have {hard}: "
            "give more --processes, or raise the limit (ulimit -Hn)."
        )
        raise AgentError("simulator.too_many_devices", message, is_final=True)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def simulate(order: Order, tell: Callable[[Progress], None]) -> int:
    """Simulate until SIGINT or SIGTERM; gives the exit code.

    Args:
        tell: Told each second how it stands, and at the end.

    Raises:
        AgentError: `simulator.other_seed`, `simulator.too_many_devices`.
    """
    require_files(len(order.numbers))
    # Threads cannot silence it one by one; what verifies the CA is the token's digest.
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    store = Store(order.state, order.seed)
    try:
        store.load(order.numbers, order.token)
        return asyncio.run(_simulate(order, store, tell))
    finally:
        store.close()


async def _simulate(order: Order, store: Store, tell: Callable[[Progress], None]) -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_WORKERS))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    counters = Counters(len(order.numbers))
    fleet = Fleet(
        controller_url=order.controller_url,
        token=order.token,
        profile=order.profile,
        counters=counters,
        downloads=Downloads(counters, is_shared=order.profile.downloads == "once"),
        turns=asyncio.Semaphore(_WORKERS // 2),
    )
    devices = [
        VirtualDevice(machine(order.seed, number), store.identity(number), store.journal(number), fleet)
        for number in order.numbers
    ]
    living: list[asyncio.Task[None]] = []
    joining = asyncio.create_task(_join(devices, living, order.join_rate_per_s))
    copying = asyncio.create_task(store.keep_copying())
    began = loop.time()
    code = 0
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TELL_INTERVAL_S)
        _tell(counters, devices, tell)
        if copying.done():
            copying.result()  # it never ends by itself: raise what ended it
        if order.duration_s and loop.time() - began >= order.duration_s:
            stop.set()
        if counters.refused == len(devices):
            code = 1
            stop.set()
    joining.cancel()
    for task in living:
        task.cancel()
    await asyncio.gather(joining, *living, return_exceptions=True)
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
    _tell(counters, devices, tell)
    return code


async def _join(devices: list[VirtualDevice], living: list[asyncio.Task[None]], rate_per_s: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for index, device in enumerate(devices):
        if rate_per_s:
            await asyncio.sleep(began + index / rate_per_s - loop.time())
        elif index % 100 == 0:
            await asyncio.sleep(0)
        task = asyncio.create_task(device.run())
        task.add_done_callback(_defect)
        living.append(task)


def _defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a virtual device ended unexpectedly", exc_info=error)


def _tell(counters: Counters, devices: list[VirtualDevice], tell: Callable[[Progress], None]) -> None:
    counters.online = sum(device.is_online for device in devices)
    counters.away = sum(device.is_away for device in devices)
    tell(counters.take())
