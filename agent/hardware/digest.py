"""What survives a new installation of the system: by it a controller knows a machine again."""

import hashlib
from pathlib import Path
from typing import Final

from agent.hardware.files import filled, text
from agent.settings import Settings

DMI_IDS: Final = ("product_uuid", "board_serial")  # files below /sys/class/dmi/id that only root reads


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
    ids = []
    for name in DMI_IDS:
        value = _told(folder / name) or (_told(handed / name) if handed else "")
        if value:
            ids.append(f"{name} {value}")
    return ids


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
    is_permanent = text(interface / "addr_assign_type") in ("0", "")
    return _told(interface / "address") if is_permanent else ""


def _machine_id(*paths: Path) -> list[str]:
    return [f"machine-id {value}" for path in paths if (value := _told(path))][:1]


def _told(path: Path) -> str:
    return filled(path).lower()
