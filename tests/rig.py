"""A controller on a real broker, for tests: everything but its HTTP doors."""

import getpass
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from controller import events
from controller.blobs import BlobStore
from controller.broker import BrokerPlan
from controller.db import Database
from controller.events import WakeUp
from controller.gateway.client import Gateway
from controller.gateway.expulsion import Expulsion
from controller.keys import Keys
from controller.scheduler import Scheduler
from controller.settings import Settings
from tests.databases import make_tables

T = TypeVar("T")

_PORTS = 5_500  # of each of four workers, from 10,000; connections have theirs above 32,768


def _own_ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    for number in itertools.count(os.getpid()):
        yield 10_000 + worker * _PORTS + number % _PORTS


_ports = _own_ports()


@dataclass(frozen=True)
class BrokerAt:
    """A running broker.

    Attributes:
        has_access_list: Whether it knows each device by its certificate.
    """

    url: str
    keys: Keys
    state: Path
    has_access_list: bool


def broker_plan(folder: Path, port: int) -> BrokerPlan:
    """Give the plan of a broker on loopback that runs as whoever runs the tests."""
    return BrokerPlan(
        hosts=["127.0.0.1"], listen="127.0.0.1", port=port, controllers=1, user=getpass.getuser(), place=folder
    )


def free_port() -> int:
    """Give a port that nobody else is about to take: below those of connections, and of this worker alone."""
    for port in _ports:
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def children_of(process_id: int, words: str) -> list[psutil.Process]:
    """Give the living children of a process whose command line has these words."""
    found = []
    for child in psutil.Process(process_id).children():
        with suppress(psutil.Error):  # it ends just now, or has ended and nobody has asked how
            if words in child.cmdline():
                found.append(child)
    return found


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(found: Callable[[], T], timeout_s: float = 20) -> T:
    """Look until something is there; what is waited for happens in another thread or process."""
    deadline = time.monotonic() + timeout_s
    while True:
        begun_at = time.monotonic()
        if result := found():
            return result
        assert time.monotonic() < deadline, "it did not happen in time"
        # A look may cost the controller a request: what is waited for gets most of the processor.
        time.sleep(min(max(3 * (time.monotonic() - begun_at), 0.01), 0.2))


class Office:
    """A controller without its HTTP doors, on a broker."""

    def __init__(self, broker: BrokerAt) -> None:
        self.settings = Settings(state=broker.state, broker_url=broker.url)
        self.keys = broker.keys
        self.database = Database(self.settings.resolved_database_url())
        make_tables(self.database)
        self.blobs = BlobStore(self.settings.blobs_at())
        self.wake_up = WakeUp(self.database)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        gateway = Gateway(self.settings, self.database, self.keys, self.blobs, self.wake_up)
        scheduler = Scheduler(settings=self.settings, database=self.database, blobs=self.blobs, wake_up=self.wake_up)
        expulsion = Expulsion(self.settings, self.database, self.keys, self.wake_up)
        for run in (gateway.run, scheduler.run, expulsion.run):
            self._threads.append(threading.Thread(target=run, args=(self._stop,)))
            self._threads[-1].start()
        # From here on the broker keeps for the gateway what devices say.
        wait_for(self._session_begun)

    def _session_begun(self) -> str:
        with self.database.reading() as session:
            return events.latest(session, events.SESSION_BEGUN)

    def close(self) -> None:
        self._stop.set()
        self.wake_up.notify()
        for thread in self._threads:
            thread.join()
        self.wake_up.close()
        self.database.close()
