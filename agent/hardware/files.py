"""Bounded reading of the small files in which a kernel tells things."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 256  # of one value
_MAX_NAME: Final = 64  # signs: a report with the most names of each kind stays below the wire's 64 KiB
_MAX_TABLE_BYTES: Final = 1024 * 1024  # of /proc/cpuinfo and its like: 512 processors fit
# What makers leave in the firmware where a value belongs. The UUIDs are shared by whole series of boards.
_PLACEHOLDERS: Final = frozenset(
    {
        "none",
        "n/a",
        "na",
        "null",
        "unknown",
        "invalid",
        "empty",
        "serial",
        "serial number",
        "system serial number",
        "base board serial number",
        "board serial number",
        "system product name",
        "product name",
        "base board product name",
        "o.e.m.",
        "oem",
        "uninitialized",
        "0123456789",
        "123456789",
        "1234567890",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    }
)
_UNFILLED: Final = ("to be filled", "to be set", "not specified", "not applicable", "not available", "default string")


def text(path: Path) -> str:
    """Give the one value that a file holds, printable; empty where there is none."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        return printable(file.read(_MAX_BYTES).decode(errors="replace").strip("\0 \t\r\n"))
    return ""


def filled(path: Path) -> str:
    """Give the value of a file of the firmware; empty for what a maker left unfilled."""
    value = text(path)
    small = value.lower()
    signs = re.sub(r"[^0-9a-z]", "", small)
    is_filled = len(set(signs)) > 1 and small not in _PLACEHOLDERS and not small.startswith(_UNFILLED)
    return value if is_filled else ""


def number(path: Path) -> int | None:
    """Give the whole number that a file holds."""
    value = text(path)
    return int(value) if re.fullmatch(r"-?[0-9]{1,19}", value) else None


def strings(path: Path) -> list[str]:
    """Give a property of the device tree that is a list of strings, each ended by a NUL."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        parts = file.read(_MAX_BYTES * 16).decode(errors="replace").split("\0")
        return [printable(part)[:_MAX_BYTES] for part in parts if part]
    return []


def lines(path: Path) -> list[str]:
    """Give a table's lines."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        return file.read(_MAX_TABLE_BYTES).decode(errors="replace").splitlines()
    return []


def found(folder: Path, pattern: str) -> list[Path]:
    """Give what a folder holds, in the order of the numbers in the names."""
    try:
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []


def is_there(path: Path) -> bool:
    """Tell whether a file can be seen; one in a closed folder cannot."""
    try:
        return path.exists()
    except OSError:
        return False


def link_name(path: Path) -> str:
    """Give the last name of what a symbolic link points to: sysfs names drivers and buses so."""
    try:
        return path.readlink().name
    except OSError:
        return ""


def printable(value: str) -> str:
    """Drop what cannot be printed: it would steer a terminal, and databases refuse some of it."""
    return "".join(sign for sign in value if sign.isprintable())[:_MAX_BYTES]


def identifier(value: str) -> str:
    """Give a name that a selector can write without quotes.

    >>> identifier("Package id 0")
    'package_id_0'
    """
    return re.sub(r"[^a-z0-9]+", "_", value.lower())[:_MAX_NAME].strip("_")
