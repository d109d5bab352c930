"""Latencies are measured alone: one at a time on a machine, and not while a converter has all its processors.

What trains has one thread, and of units there are no more than processors; so a measurement has one for itself.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_NAME: Final = "shoal-measuring"


@contextmanager
def measuring() -> Iterator[None]:
    """Wait until nothing else is measured or converted on this machine, and keep both away."""
    with _locked(fcntl.LOCK_EX):
        yield


@contextmanager
def working() -> Iterator[None]:
    """Wait until nothing is measured on this machine, and keep that away: this will use all processors."""
    with _locked(fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(how: int) -> Iterator[None]:
    # One file for each user: another's would not open. The lock goes with the process, however that ends.
    path = Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, how)
        yield
    finally:
        os.close(file)
