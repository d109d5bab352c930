"""What the machine is called, how much memory it has, and where its clock stands."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.hardware import cgroups
from agent.hardware.files import filled, lines, strings, text

# Names as the IANA data base has them: Europe/Paris, Etc/GMT+3, America/Port-au-Prince, UTC.
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+){0,2}")


def name(*, root: Path = Path("/")) -> str | None:
    """Give the board's name: the device tree's `model`, on a PC the firmware's product name."""
    for folder in _trees(root):
        if told := text(folder / "model"):
            return told
    for file in ("product_name", "board_name"):
        if told := filled(root / "sys/class/dmi/id" / file):
            return told
    return None


def compatible(*, root: Path = Path("/")) -> list[str]:
    """Give the device tree's `compatible` of the whole board: `maker,board` first, `maker,chip` last."""
    for folder in _trees(root):
        if told := strings(folder / "compatible"):
            return told
    return []


def memory_bytes(*, root: Path = Path("/")) -> int | None:
    """Give the memory that this process may use: the machine's, or its control group's limit where that is smaller."""
    total = None
    for line in lines(root / "proc/meminfo"):
        if match := re.fullmatch(r"MemTotal:\s+([0-9]{1,15}) kB", line.strip()):
            total = int(match[1]) * 1024
            break
    limit = cgroups.memory_limit_bytes(root=root)
    known = [one for one in (total, limit) if one is not None]
    return min(known, default=None)


def time_zone(*, root: Path = Path("/"), told: str | None = None) -> str | None:
    """Give the time zone's name in the IANA data base, where it is known.

    Args:
        told: What the variable `TZ` says; None: the environment's.
    """
    variable = os.environ.get("TZ", "") if told is None else told
    if variable:  # it stands above the system's; what is not a name of the data base has none
        return _zone(variable.removeprefix(":").rpartition("zoneinfo/")[2])
    local = root / "etc/localtime"
    if not os.path.lexists(local):
        return _zone(text(root / "etc/timezone")) or "UTC"  # man 5 localtime: without the link it is UTC
    with suppress(OSError):
        _, is_named, zone = str(local.readlink()).rpartition("zoneinfo/")
        if is_named and (known := _zone(zone)):
            return known
    return _zone(text(root / "etc/timezone"))


def _zone(value: str) -> str | None:
    plain = value.removeprefix("posix/").removeprefix("right/")
    if len(plain) > 64 or not _ZONE.fullmatch(plain) or re.search(r"[A-Za-z]{3}[+-]?[0-9]", plain.split("/")[0]):
        return None  # `CET-1CEST` is a rule of POSIX, no name
    return plain


def _trees(root: Path) -> tuple[Path, Path]:
    return root / "proc/device-tree", root / "sys/firmware/devicetree/base"
