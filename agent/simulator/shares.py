"""A fleet in several processes: each has a share of the devices, and what they tell is added up here."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import IO, Final

import msgspec

from agent.simulator.counters import Progress, add

_TELL_INTERVAL_S: Final = 1.0
_TOKEN: Final = "SHOAL_AGENT_TOKEN"  # noqa: S105 (a variable's name)


def share_of(devices: int, index: int, count: int) -> range:
    """Give the numbers of a share.

    >>> share_of(10, 0, 3), share_of(10, 2, 3)
    (range(0, 3), range(6, 10))
    """
    return range(devices * index // count, devices * (index + 1) // count)


def simulate_in_shares(count: int, token: str, tell: Callable[[Progress], None]) -> int:
    """Run this very command once for each share, until they have ended; gives the exit code.

    Args:
        token: Handed on in the environment, where other users do not see it.
    """
    environment = {**os.environ, _TOKEN: token}
    command = [sys.executable, *sys.orig_argv[1:], "--share"]
    latest: dict[int, Progress] = {}
    fresh = threading.Lock()
    processes: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    def read(index: int, lines: IO[bytes]) -> None:
        for line in lines:
            said = msgspec.json.decode(line, type=Progress)
            with fresh:
                before = latest.get(index)
                troubles = [*(before.troubles if before else []), *said.troubles]
                latest[index] = msgspec.structs.replace(said, troubles=troubles)

    def tell_all() -> None:
        with fresh:
            if len(latest) < count:
                return
            total = add(list(latest.values()))
            for index, one in latest.items():
                latest[index] = msgspec.structs.replace(one, troubles=[])
        tell(total)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    for index in range(count):
        # A session of its own: Ctrl-C reaches a share only through here, once.
        processes.append(
            subprocess.Popen(
                [*command, f"{index}/{count}"], env=environment, stdout=subprocess.PIPE, start_new_session=True
            )
        )
    readers = [
        threading.Thread(target=read, args=(index, process.stdout), daemon=True)
        for index, process in enumerate(processes)
    ]
    for reader in readers:
        reader.start()
    while any(process.poll() is None for process in processes):
        time.sleep(_TELL_INTERVAL_S)
        tell_all()
        if any(process.poll() for process in processes):
            hand_on(signal.SIGTERM, None)  # one ended with a failure: the fleet would not be whole
    for reader in readers:
        reader.join()
    tell_all()
    return max(process.wait() for process in processes)
