"""The limits of the control group that this process is in; both versions (man 7 cgroups)."""

from pathlib import Path
from typing import Final

from agent.hardware.files import lines, number, text

_MAX_DEPTH: Final = 32
_UNLIMITED: Final = 2**60  # version 1 says "no limit" by a number near 2^63


def cpu_quota(*, root: Path = Path("/")) -> float | None:
    """Give how many cores' time the group may use, the tightest of it and those above it."""
    quotas = [_quota(folder) for folder in _folders(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(*, root: Path = Path("/")) -> int | None:
    """Give how much memory the group may use, the tightest of it and those above it."""
    limits = [
        limit
        for folder in _folders(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := number(folder / name)) is not None and 0 < limit < _UNLIMITED
    ]
    return min(limits, default=None)


def _quota(folder: Path) -> float | None:
    quota, _, period = text(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = text(folder / "cpu.cfs_quota_us"), text(folder / "cpu.cfs_period_us")
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0 or int(quota) == 0:
        return None
    return int(quota) / int(period)


def _folders(root: Path, controller: str) -> list[Path]:
    """Give the group's folder and those above it, of both versions; inside a container only what is mounted there."""
    found = []
    for line in lines(root / "proc/self/cgroup"):
        number_, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number_ == "0":
            mount = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")][:_MAX_DEPTH]
        found += [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return found
