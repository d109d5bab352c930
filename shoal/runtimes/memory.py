"""Resident memory of this process and of those that it started, by the kernel's own account."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_KIB: Final = 1024


class Peak:
    """The most that was resident since this was made, less what was resident then."""

    def __init__(self) -> None:
        # "5" sets the high-water mark back (proc(5)); where that is not allowed, an older and higher mark may count.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _resident("VmRSS")

    def bytes(self) -> int:
        """Give it; 0 where the kernel does not tell."""
        return max(_resident("VmHWM") - self._before, 0)


def _resident(field: str) -> int:
    return sum(_status(process, field) for process in _processes("self"))


def _processes(process: str) -> Iterator[str]:
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                yield from _processes(child)


def _status(process: str, field: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * _KIB
    return 0
