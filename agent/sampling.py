"""What the machine is doing at one moment, as figures of telemetry. What cannot be measured is absent, never zero.

Kinds are dotted and end with their unit. Files of the kernel are read as `agent.hardware` does; the powers of a battery
and of a package as Documentation/ABI/testing/sysfs-class-power and Documentation/power/powercap/powercap.rst say.
"""

import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from agent.hardware import meters, power
from agent.hardware.files import found, number, text
from shoal.wire.telemetry import MAX_SERIES

_KIND: Final = re.compile(r"[a-z][a-z0-9._-]{0,95}")
_MOST: Final = 1e18  # of a figure on the wire
_CELSIUS: Final = (-100.0, 250.0)
_PROCESSORS: Final = ("coretemp", "k10temp", "zenpower", "cpu", "soc", "x86_pkg_temp")  # how their sensors' names begin
_OTHER_TEMPERATURES: Final = 8


class Sampler:
    """Reads figures; what is told as a rate or a share counts from one reading to the next.

    Args:
        folder: On whose file system the free space counts.
        root: The root folder of the machine.
    """

    def __init__(self, folder: Path, *, root: Path = Path("/")) -> None:
        self._folder = folder
        self._root = root
        self._sys = root / "sys"
        self._process = psutil.Process()
        self._traffic: tuple[float, int, int] | None = None
        self._energy = (time.monotonic(), meters.package_counters(root=root))
        self._counts: dict[str, tuple[int, int, int]] = {}  # model -> version, requests, failures
        psutil.cpu_percent()  # the first call gives nothing: it begins the interval
        self._read_traffic()

    def read(self, models: Iterable[Mapping[str, Any]]) -> dict[str, float]:
        """Give the figures of now.

        Args:
            models: What the serving process counted since each model was loaded.
        """
        memory = psutil.virtual_memory()
        figures: dict[str, float | None] = {
            "cpu.ratio": psutil.cpu_percent() / 100,
            "memory.available_bytes": memory.available,
            "memory.used_ratio": 1 - memory.available / memory.total,
            "agent.rss_bytes": self._process.memory_info().rss,
        }
        with suppress(OSError):
            figures["load.one_minute"] = os.getloadavg()[0]
        with suppress(OSError):
            figures["disk.free_bytes"] = shutil.disk_usage(self._folder).free
        figures |= self._read_temperatures()
        figures["power.watts"] = self._read_watts()
        figures["battery.ratio"] = power.read(root=self._root).battery_ratio
        figures |= self._read_traffic()
        for model in models:
            figures |= self._count(model)
        fit = {kind: figure for kind, figure in figures.items() if figure is not None and fits(kind, figure)}
        return dict(list(fit.items())[:MAX_SERIES])

    def _read_temperatures(self) -> dict[str, float | None]:
        """Give each sensor's degrees, and the hottest of the processor's as `cpu`."""
        degrees: dict[str, float | None] = {}
        processor: list[float] = []
        for name, celsius in meters.temperatures_celsius(root=self._root).items():
            if name.startswith(_PROCESSORS):
                processor.append(celsius)
            elif len(degrees) < _OTHER_TEMPERATURES:
                degrees[f"temperature.{as_word(name)}_celsius"] = celsius
        return {"temperature.cpu_celsius": max(processor, default=None), **degrees}

    def _read_watts(self) -> float | None:
        """Give what the machine draws: by the first counter that there is, the most inclusive first."""
        for supply in found(self._sys, "class/power_supply/*"):
            if text(supply / "type") == "Battery" and text(supply / "status") == "Discharging":
                return _supply_watts(supply)
        rails = meters.rail_watts(root=self._root)
        return self._read_package_watts() if rails is None else rails

    def _read_package_watts(self) -> float | None:
        """Give the processors' packages' power since the reading before."""
        now, counters = time.monotonic(), meters.package_counters(root=self._root)
        before_at, before = self._energy
        self._energy = (now, counters)
        joules = meters.used_joules(before, counters)
        return joules / (now - before_at) if joules is not None and now > before_at else None

    def _read_traffic(self) -> dict[str, float | None]:
        """Give the bytes a second since the reading before, of what hardware stands behind: bridges count it again."""
        try:
            counts = {name: count for name, count in psutil.net_io_counters(pernic=True).items() if name != "lo"}
        except OSError:
            return {}
        real = [count for name, count in counts.items() if (self._sys / "class/net" / name / "device").exists()]
        counted = real or list(counts.values())  # in a container there is no hardware
        sent, received = sum(one.bytes_sent for one in counted), sum(one.bytes_recv for one in counted)
        now, before = time.monotonic(), self._traffic
        self._traffic = (now, sent, received)
        if not counted or before is None or now <= before[0] or sent < before[1] or received < before[2]:
            return {}  # an interface that went took its counts along
        lasted_s = now - before[0]
        return {
            "network.sent_bytes_per_s": (sent - before[1]) / lasted_s,
            "network.received_bytes_per_s": (received - before[2]) / lasted_s,
        }

    def _count(self, model: Mapping[str, Any]) -> dict[str, float | None]:
        word = as_word(str(model["model"]))
        version, requests, failures = int(model["version"]), int(model["requests"]), int(model["failures"])
        old_version, old_requests, old_failures = self._counts.get(word, (version, 0, 0))
        if old_version != version or old_requests > requests:  # loaded anew: it counts from zero
            old_requests = old_failures = 0
        self._counts[word] = (version, requests, failures)
        figures: dict[str, float | None] = {
            f"inference.{word}.requests": requests - old_requests,
            f"inference.{word}.failures": failures - old_failures,
        }
        if requests > old_requests:  # the percentiles of an interval without a request say nothing of it
            for name in ("latency_p50_ms", "latency_p95_ms"):
                figures[f"inference.{word}.{name}"] = model.get(name)
        return figures


def as_word(name: str) -> str:
    """Make a sensor's or a model's name a part of a kind.

    >>> as_word("Core 0 / Package"), as_word("digits-2.1"), as_word("\u00e9")
    ('core_0_package', 'digits-2.1', '')
    """
    return re.sub(r"[^a-z0-9.-]+", "_", name.lower()).strip("_.-")[:48]


def fits(kind: str, figure: float) -> bool:
    """Tell whether a figure can stand in a message: finite, and as its kind's unit allows.

    >>> fits("cpu.ratio", 0.5), fits("cpu.ratio", 1.5), fits("power.watts", float("nan")), fits("Cpu", 1.0)
    (True, False, False, False)
    """
    if not math.isfinite(figure) or abs(figure) > _MOST or _KIND.fullmatch(kind) is None:
        return False
    if kind.endswith("ratio"):
        return 0 <= figure <= 1
    if kind.endswith("celsius"):
        return _CELSIUS[0] <= figure <= _CELSIUS[1]
    return figure >= 0


def _supply_watts(supply: Path) -> float | None:
    micro = number(supply / "power_now")
    if micro is None:
        pico = meters.product(supply / "current_now", supply / "voltage_now")
        micro = None if pico is None else pico // 10**6
    return None if micro is None else abs(micro) / 1e6
