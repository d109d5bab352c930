"""Chips beside the CPU that neural networks can run on, by what the kernel shows of them.

What only a vendor's library can tell (a GPU's name and memory) is asked by `probe`; its answers stand above these.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agent.hardware import board
from agent.hardware.files import found, is_there, link_name, text
from shoal.wire.devices import Accelerator

_MOST: Final = 32
# PCI vendors (pci.ids) whose render nodes and compute devices can run networks; a display chip of a server is none.
_VENDORS: Final = {"0x8086": "intel", "0x10de": "nvidia", "0x1002": "amd", "0x1022": "amd", "0x17cb": "qualcomm"}
# `compatible` of the board -> the GPU in its chip: arch/arm64/boot/dts/nvidia in the kernel, names by NVIDIA.
_JETSON_GPUS: Final = {
    "nvidia,tegra210": "Tegra X1 (Maxwell)",
    "nvidia,tegra186": "Tegra X2 (Pascal)",
    "nvidia,tegra194": "Xavier (Volta)",
    "nvidia,tegra234": "Orin (Ampere)",
    "nvidia,tegra264": "Thor (Blackwell)",
}
# Chips with an NPU: the table `rknpu_of_match` of Rockchip's driver, and the data sheets for their sister chips.
_ROCKCHIP_NPUS: Final = frozenset(
    {"rk3562", "rk3566", "rk3568", "rk3576", "rk3588", "rk3588s", "rv1103", "rv1106", "rv1109", "rv1126"}
)
_ROCKCHIP_DRIVERS: Final = frozenset({"RKNPU", "rknpu", "rocket"})
# USB ids of Google's Coral stick: before its firmware is loaded (Global Unichip), and after (coral.ai, get started).
_CORAL_USB: Final = frozenset({("1a6e", "089a"), ("18d1", "9302")})
# hailo-ai/hailort-drivers, linux/pcie/src/pcie.h
_HAILO: Final = {"0x2864": "Hailo-8", "0x45c4": "Hailo-10H", "0x43a2": "Hailo-15L"}


def read(probed: Iterable[Accelerator] = (), *, root: Path = Path("/")) -> list[Accelerator]:
    """Give the accelerators that are there.

    Args:
        probed: What vendors' libraries told; of each kind and vendor that they name the kernel's word is not needed.
    """
    told = list(probed)
    known = {(one.kind, one.vendor) for one in told}
    seen = [*_jetson(root), *_render_nodes(root), *_compute_nodes(root), *_rockchip(root)]
    for one in seen:
        if (one.kind, one.vendor) not in known:
            told.append(one)
    return [*told, *_coral(root), *_hailo(root)][:_MOST]


def nodes(*, root: Path = Path("/")) -> list[str]:
    """Give the device files by which a vendor's library would find something: if they change, it is asked again."""
    patterns = ("nvidia[0-9]*", "nvidiactl", "dxg", "dri/renderD*", "accel/accel*")
    return [str(path.relative_to(root)) for pattern in patterns for path in found(root / "dev", pattern)]


def _jetson(root: Path) -> list[Accelerator]:
    gpus = [_JETSON_GPUS[chip] for chip in board.compatible(root=root) if chip in _JETSON_GPUS]
    return [Accelerator(kind="gpu", vendor="nvidia", name=name, found_by="device_tree") for name in gpus[:1]]


def _render_nodes(root: Path) -> list[Accelerator]:
    return [
        Accelerator(kind="gpu", vendor=vendor, name=_pci_name(node / "device"), found_by="device_node")
        for node in found(root / "sys/class/drm", "renderD*")
        if (vendor := _VENDORS.get(text(node / "device/vendor"))) and is_there(root / "dev/dri" / node.name)
    ]


def _compute_nodes(root: Path) -> list[Accelerator]:
    """Give what the kernel's subsystem for compute accelerators (Documentation/accel) shows on PCI."""
    return [
        Accelerator(kind="npu", vendor=vendor, name=_pci_name(node / "device"), found_by="device_node")
        for node in found(root / "sys/class/accel", "accel*")
        if (vendor := _VENDORS.get(text(node / "device/vendor"))) and is_there(root / "dev/accel" / node.name)
    ]


def _rockchip(root: Path) -> list[Accelerator]:
    """Give the NPU of a Rockchip's chip, if a driver made a device file of it."""
    chips = [
        chip
        for one in board.compatible(root=root)
        if one.startswith("rockchip,") and (chip := one.removeprefix("rockchip,")) in _ROCKCHIP_NPUS
    ]
    drivers = {
        link_name(node / "device/driver")
        for folder, pattern in (("drm", "renderD*"), ("accel", "accel*"))
        for node in found(root / "sys/class" / folder, pattern)
    }
    if not chips or not (is_there(root / "dev/rknpu") or drivers & _ROCKCHIP_DRIVERS):
        return []
    name = f"{chips[-1].upper()} NPU"
    return [Accelerator(kind="npu", vendor="rockchip", name=name, found_by="device_node")]


def _coral(root: Path) -> list[Accelerator]:
    sticks = [
        device
        for device in found(root / "sys/bus/usb/devices", "*")
        if (text(device / "idVendor"), text(device / "idProduct")) in _CORAL_USB
    ]
    names = ["Coral USB Accelerator"] * len(sticks)
    names += ["Coral Edge TPU (PCIe)"] * len(found(root / "dev", "apex_[0-9]*"))
    return [Accelerator(kind="tpu", vendor="google", name=name, found_by="device_node") for name in names]


def _hailo(root: Path) -> list[Accelerator]:
    chips = []
    for node in found(root / "dev", "hailo[0-9]*"):
        device = text(root / "sys/class/hailo_chardev" / node.name / "device/device").lower()
        chips.append(_HAILO.get(device, "Hailo"))
    return [Accelerator(kind="npu", vendor="hailo", name=name, found_by="device_node") for name in chips]


def _pci_name(device: Path) -> str:
    ids = ":".join(text(device / name).removeprefix("0x") for name in ("vendor", "device"))
    driver = link_name(device / "driver")
    return f"PCI {ids}" + (f" ({driver})" if driver else "")
