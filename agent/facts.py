"""What this machine is. What cannot be read is absent, never zero or invented."""

import hashlib
import os
import platform
import re
import shutil
import socket
import time
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil

from agent import VERSION
from agent.settings import Settings
from shoal.wire.devices import Facts

# The distributions of the files under `shoal/runtimes`; told without importing any.
_RUNTIMES: Final = {"onnxruntime": "onnxruntime", "openvino": "openvino"}
DMI_IDS: Final = ("product_uuid", "board_serial")  # files below /sys/class/dmi/id that only root reads
_MAX_ID_BYTES: Final = 256
# What makers leave in the firmware where an id belongs. The UUIDs are shared by whole series of boards.
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


def read_facts(settings: Settings, inference_url: str) -> Facts:
    """Read what this machine is and offers."""
    settings.state.mkdir(parents=True, exist_ok=True)
    return Facts(
        hostname=socket.gethostname()[:256],
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}"[:256],
        python=platform.python_version(),
        agent_version=VERSION,
        runtimes=offered_runtimes(settings),
        can_train=find_spec("torch") is not None,
        hardware_id=hardware_id(settings),
        cpu_model=_cpu_model(),
        cpu_cores=os.cpu_count(),
        memory_bytes=psutil.virtual_memory().total,
        disk_free_bytes=shutil.disk_usage(settings.state).free,
        time_zone=time.tzname[0],
        inference_url=inference_url,
    )


def offered_runtimes(settings: Settings) -> dict[str, str]:
    """Give the runtimes that are installed, narrowed by the setting, with their versions."""
    narrowed = settings.narrowed()
    found: dict[str, str] = {}
    for name, distribution in _RUNTIMES.items():
        if not narrowed or name in narrowed:
            with suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(distribution)
    return found


def boot_id() -> str:
    """Give what changes with each boot of the machine."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def hardware_id(settings: Settings, *, root: Path = Path("/")) -> str | None:
    """Give a digest of what survives a new installation of the system; the ids themselves never leave.

    The first of these that says anything: the firmware's ids (DMI), the device tree's serial number, the built-in
    network interfaces' permanent addresses, and at last the machine id, which is new with each installation. Only root
    reads DMI's ids, so systemd hands them to the service as credentials: both must come to the same digest.
    """
    handed = Path(settings.credentials) if settings.credentials else None
    ids = (
        _dmi_ids(root / "sys/class/dmi/id", handed)
        or _device_tree_serial(root / "proc/device-tree", root / "sys/firmware/devicetree/base")
        or _permanent_addresses(root / "sys/class/net")
        or _machine_id(root / "etc/machine-id", root / "var/lib/dbus/machine-id")
    )
    if not ids:
        return None
    return hashlib.sha256("\n".join(["shoal", *ids, f"instance {settings.instance}"]).encode()).hexdigest()


def _dmi_ids(folder: Path, handed: Path | None) -> list[str]:
    found = []
    for name in DMI_IDS:
        value = _told(folder / name) or (_told(handed / name) if handed else "")
        if value:
            found.append(f"{name} {value}")
    return found


def _device_tree_serial(*folders: Path) -> list[str]:
    return [f"serial-number {value}" for folder in folders if (value := _told(folder / "serial-number"))][:1]


def _permanent_addresses(folder: Path) -> list[str]:
    """Give the addresses of interfaces that hardware stands behind; what is plugged in (USB) only where all are."""
    built_in: list[str] = []
    plugged: list[str] = []
    for interface in sorted(folder.glob("*/device")):
        if address := _permanent_address(interface.parent):
            is_plugged = (interface / "subsystem").resolve().name == "usb"
            (plugged if is_plugged else built_in).append(f"address {address}")
    return sorted(set(built_in or plugged))


def _permanent_address(interface: Path) -> str:
    """Give the address that the hardware was made with: the shown one may be random (privacy) or a bond's."""
    for path in (interface / "bonding_slave/perm_hwaddr", interface / "phy80211/macaddress"):
        if address := _told(path):
            return address
    # Documentation/ABI/testing/sysfs-class-net: 0 is permanent; 1 random, 2 stolen from another device, 3 set.
    is_permanent = _text(interface / "addr_assign_type") in ("0", "")
    return _told(interface / "address") if is_permanent else ""


def _machine_id(*paths: Path) -> list[str]:
    return [f"machine-id {value}" for path in paths if (value := _told(path))][:1]


def _told(path: Path) -> str:
    """Give what a file of the kernel says, in lower case; empty for what a maker left unfilled."""
    value = _text(path)
    digits = re.sub(r"[^0-9a-z]", "", value)
    is_filled = len(set(digits)) > 1 and value not in _PLACEHOLDERS and not value.startswith(_UNFILLED)
    return value if is_filled else ""


def _text(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        return file.read(_MAX_ID_BYTES).decode(errors="replace").strip("\0 \t\r\n").lower()
    return ""


def _cpu_model() -> str | None:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()[:256] or None
    return None
