"""Network interfaces, whether their traffic costs money, and how far away the controller is.

Sources: Documentation/ABI/testing/sysfs-class-net and sysfs-class-net-phydev in the kernel; `man nmcli` (NetworkManager
alone knows what is metered: systemd-networkd and ifupdown do not).
"""

import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from agent.hardware.files import found, is_there, lines, number, text
from shoal.wire.devices import NetworkInterface

_MOST: Final = 32
_MOST_ADDRESSES: Final = 64
_NMCLI_S: Final = 3.0
_CONNECT_S: Final = 3.0
_KINDS: Final = {"wlan": "wifi", "wwan": "cellular"}
_ETHERNET: Final = 1  # include/uapi/linux/if_arp.h
_POINT_TO_POINT: Final = frozenset({512, 519, 530})  # ppp, raw IP, and a modem's plain link
_FASTEST_MBIT_PER_S: Final = 2**31 - 1  # and -1 is "unknown", which drivers also write as 2^32 - 1


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way to the controller.

    Attributes:
        address: This machine's own on it.
        interface: Its name; empty where no interface has the address.
        round_trip_s: Of one TCP handshake; None where nothing answered.
    """

    address: str
    interface: str
    round_trip_s: float | None


def interfaces(metered: dict[str, bool], *, root: Path = Path("/")) -> list[NetworkInterface]:
    """Give the interfaces that hardware stands behind.

    Args:
        metered: What `metered_interfaces` told.
    """
    told = []
    for device in sorted(found(root / "sys/class/net", "*/device")):
        folder = device.parent
        speed = number(folder / "speed")
        is_up = text(folder / "operstate") == "up"
        told.append(
            NetworkInterface(
                name=folder.name,
                kind=_kind(folder),
                is_up=is_up,
                is_metered=metered.get(folder.name),
                speed_bits_per_s=speed * 10**6 if speed and is_up and 0 < speed < _FASTEST_MBIT_PER_S else None,
            )
        )
    return told[:_MOST]


def metered_interfaces(program: str = "nmcli") -> dict[str, bool]:
    """Ask NetworkManager, if it is there, which interfaces are metered; its guesses count, "unknown" does not."""
    path = shutil.which(program)
    if path is None:
        return {}
    command = [path, "-t", "-f", "GENERAL.DEVICE,GENERAL.METERED", "device", "show"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_NMCLI_S, env={"LC_ALL": "C", "PATH": "/usr/bin"})
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_metered(done.stdout.decode(errors="replace").splitlines())


def parse_metered(answer: Iterable[str]) -> dict[str, bool]:
    """Read nmcli's terse answer.

    >>> parse_metered(["GENERAL.DEVICE:wwan0", "GENERAL.METERED:yes (guessed)", "", "GENERAL.DEVICE:eth0"])
    {'wwan0': True}
    """
    told: dict[str, bool] = {}
    device = ""
    for line in answer:
        key, _, value = line.partition(":")
        if key == "GENERAL.DEVICE":
            device = value
        elif key == "GENERAL.METERED" and device and value.split(" ")[0] in ("yes", "no"):
            told[device] = value.startswith("yes")
    return told


def way_to(controller_url: str) -> Way | None:
    """Look how the controller is reached: one TCP handshake is one round trip. Blocking, for a few seconds at most.

    The name is looked up before the clock starts; nothing is sent, so the controller sees a connection that ends.
    """
    try:
        parts = urlsplit(controller_url)
        port = parts.port or 443
        if not parts.hostname:
            return None
        family, kind, protocol, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(_CONNECT_S)
            began = time.perf_counter()
            connection.connect(address)
            round_trip_s = time.perf_counter() - began
            own = str(connection.getsockname()[0])
    except (OSError, ValueError):
        return None
    return Way(address=own, interface=_interface_of(own), round_trip_s=round_trip_s)


def addresses(named: Iterable[str]) -> list[str]:
    """Give the addresses of the named interfaces that others can reach: no loopback, no link-local ones."""
    every = _every_address()
    told = []
    for name in dict.fromkeys(named):
        for one in every.get(name, []):
            with suppress(ValueError):  # a link layer's
                address = ipaddress.ip_address(one.address.partition("%")[0])
                if not address.is_loopback and not address.is_link_local:
                    told.append(str(address))
    return told[:_MOST_ADDRESSES]


def _interface_of(address: str) -> str:
    for name, own in _every_address().items():
        if any(one.address.partition("%")[0] == address for one in own):
            return name
    return ""


def _every_address() -> dict[str, list[Any]]:
    try:
        return dict(psutil.net_if_addrs())
    except OSError:  # a sandbox without netlink
        return {}


def _kind(folder: Path) -> str:
    told = dict(line.split("=", 1) for line in lines(folder / "uevent") if "=" in line)
    if kind := _KINDS.get(told.get("DEVTYPE", "")):
        return kind
    if is_there(folder / "phy80211") or is_there(folder / "wireless"):
        return "wifi"
    link = number(folder / "type")
    if folder.name.startswith("wwan") or link in _POINT_TO_POINT:
        return "cellular"
    return "ethernet" if link == _ETHERNET else "other"
