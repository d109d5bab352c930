"""A Ray cluster on this machine: a head that runs nothing, and worker processes with one processor each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.rig import free_port, wait_for

_OPTIONS = ("--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--block")
_ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def cluster(*, workers: int) -> Iterator[tuple[str, list[int]]]:
    """Give a cluster's address and the process ids of its workers' nodes; it ends with the block."""
    with TemporaryDirectory(prefix="shoal-ray-") as folder:
        port = free_port()
        address = f"127.0.0.1:{port}"
        started: list[subprocess.Popen[bytes]] = []
        try:
            head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}")
            worker = (f"--address={address}", "--num-cpus=1")
            for number, options in enumerate([head, *[worker] * workers]):
                # One after the other: nodes that start at once on one machine take each other's ports.
                started.append(_start(Path(folder, f"node-{number}.log"), *options))
            yield address, [node.pid for node in started[1:]]
        finally:
            _end(started)


def _start(log: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [str(Path(sys.executable).with_name("ray")), "start", *_OPTIONS, *options]
    with log.open("wb") as file:
        node = subprocess.Popen(command, env={**os.environ, **_ENVIRONMENT}, stdout=file, stderr=file)
    wait_for(lambda: b"Ray runtime started" in log.read_bytes(), 60)
    return node


def _end(started: list["subprocess.Popen[bytes]"]) -> None:
    left = [psutil.Process(one.pid) for one in started if one.poll() is None]
    left += [child for one in left for child in one.children(recursive=True)]
    for process in left:
        if process.is_running():
            process.kill()
    for one in started:
        one.wait()
