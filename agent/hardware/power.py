"""Where the power comes from (Documentation/ABI/testing/sysfs-class-power in the kernel)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.hardware.files import found, number, text

_ADAPTERS: Final = frozenset({"Mains", "USB", "Wireless"})
_BATTERIES: Final = frozenset({"Battery", "UPS"})
_FED: Final = frozenset({"Charging", "Full", "Not charging"})  # a battery that is not being emptied


@dataclass(frozen=True, kw_only=True)
class Power:
    """What feeds the machine.

    Attributes:
        source: `mains` or `battery`; None where nothing tells.
        battery_ratio: How full its batteries are on average, 0..1; None where there is none.
    """

    source: str | None
    battery_ratio: float | None


def read(*, root: Path = Path("/")) -> Power:
    """Read the power supplies; a mouse's battery is none of the machine's."""
    is_fed: list[bool] = []
    fill: list[int] = []
    statuses: list[str] = []
    for supply in found(root / "sys/class/power_supply", "*"):
        kind = text(supply / "type")
        if text(supply / "scope") == "Device":
            continue
        if kind in _ADAPTERS:
            if (online := number(supply / "online")) is not None:
                is_fed.append(online > 0)  # 2: online, and the voltage can be chosen
        elif kind in _BATTERIES and number(supply / "present") != 0:
            statuses.append(text(supply / "status"))
            if (capacity := number(supply / "capacity")) is not None and 0 <= capacity <= 100:
                fill.append(capacity)
    source: str | None
    if any(is_fed):
        source = "mains"
    elif "Discharging" in statuses:
        source = "battery"
    else:
        source = "mains" if any(status in _FED for status in statuses) else None
    return Power(source=source, battery_ratio=sum(fill) / len(fill) / 100 if fill else None)
