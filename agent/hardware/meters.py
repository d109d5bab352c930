"""What can be measured while the machine works: energy, power and temperatures.

Sources: Documentation/power/powercap/powercap.rst, Documentation/hwmon/sysfs-interface.rst and
Documentation/driver-api/thermal/sysfs-api.rst in the kernel; for a Jetson's INA3221 before Jetson Linux 34 NVIDIA's
developer guide (`/sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_<n>`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agent.hardware.files import found, identifier, number, text

_MOST: Final = 64  # names; more than any board has
_MAX_NAME: Final = 64  # signs
_COLDEST_CELSIUS: Final = -100.0
_HOTTEST_CELSIUS: Final = 250.0
_CPU_SENSORS: Final = ("cpu", "coretemp", "k10temp", "zenpower", "soc_thermal", "x86_pkg_temp")


def energy_counters(*, root: Path = Path("/")) -> list[str]:
    """Give the names of the counters that this process can read, as `rapl:package-0` or `ina3221:VDD_IN`.

    Since 2020 the kernel lets only root read RAPL (CVE-2020-8694): for another user it is absent.
    """
    counters: list[str] = []
    for zone in found(root / "sys/class/powercap", "intel-rapl:*"):  # an AMD's bear this name too
        if (label := text(zone / "name")) and (number(zone / "energy_uj") or 0) > 0:
            counters.append(f"rapl:{label}")
    for chip in found(root / "sys/class/hwmon", "hwmon*"):
        driver = text(chip / "name")
        if not driver:
            continue
        if driver == "ina3221":  # it knows voltage and current of each rail
            inputs = ((path, path.name.replace("curr", "in", 1)) for path in found(chip, "curr[123]_input"))
        else:
            inputs = ((path, path.name) for kind in ("energy*_input", "power*_input") for path in found(chip, kind))
        for path, labeled in inputs:
            if number(path) is not None:
                label = text(chip / labeled.replace("_input", "_label")) or labeled.removesuffix("_input")
                counters.append(f"{driver}:{label}")
    for rail in found(root / "sys/bus/i2c/drivers/ina3221x", "*/iio:device*/rail_name_*"):
        count = rail.name.removeprefix("rail_name_")
        if (label := text(rail)) and number(rail.with_name(f"in_power{count}_input")) is not None:
            counters.append(f"ina3221:{label}")
    return list(dict.fromkeys(name[:_MAX_NAME] for name in counters))[:_MOST]


def temperatures_celsius(*, root: Path = Path("/")) -> dict[str, float]:
    """Give the hottest reading of each chip and zone, by names that a selector can write; the processor's is `cpu`."""
    degrees: dict[str, float] = {}
    for zone in found(root / "sys/class/thermal", "thermal_zone*"):
        _note(degrees, text(zone / "type"), number(zone / "temp"))
    for chip in found(root / "sys/class/hwmon", "hwmon*"):
        for sensor in found(chip, "temp*_input"):
            _note(degrees, text(chip / "name"), number(sensor))
    return dict(list(degrees.items())[:_MOST])


def rail_watts(*, root: Path = Path("/")) -> float | None:
    """Give what the rail draws that draws the most: those behind the machine's input are part of it."""
    rails = [number(file) for file in found(root / "sys/class/hwmon", "hwmon*/power*_input")]
    for chip in found(root / "sys/class/hwmon", "hwmon*"):
        if text(chip / "name") == "ina3221":  # it knows amperes and volts of each rail
            rails += [product(chip / f"curr{count}_input", chip / f"in{count}_input") for count in (1, 2, 3)]
    known = [micro for micro in rails if micro is not None]
    return max(known) / 1e6 if known else None


def package_counters(*, root: Path = Path("/")) -> dict[Path, tuple[int, int]]:
    """Give for each of the processor's packages the energy that it used, in microjoules, and where the count begins
    anew; 0 where that is not told.
    """
    counters = {}
    for zone in found(root / "sys/class/powercap", "intel-rapl:*"):
        used = number(zone / "energy_uj")
        if zone.name.count(":") == 1 and used is not None:  # others are zones within a package
            counters[zone] = (used, number(zone / "max_energy_range_uj") or 0)
    return counters


def used_joules(before: Mapping[Path, tuple[int, int]], now: Mapping[Path, tuple[int, int]]) -> float | None:
    """Give the energy that packages used between two readings of their counters; None where no counter tells."""
    used = []
    for zone, (count, most) in now.items():
        more = count - before[zone][0] if zone in before else -1
        more += most if more < 0 and zone in before else 0
        if more >= 0:
            used.append(more / 1e6)
    return sum(used) if used else None


def product(amperes: Path, volts: Path) -> int | None:
    """Give the product of two files, as of amperes and volts; None where one of them tells nothing."""
    one, other = number(amperes), number(volts)
    return None if one is None or other is None else one * other


def _note(degrees: dict[str, float], name: str, thousandths: int | None) -> None:
    word = identifier(name)
    if word.startswith(_CPU_SENSORS):
        word = "cpu"
    if word and thousandths is not None and _COLDEST_CELSIUS <= thousandths / 1000 <= _HOTTEST_CELSIUS:
        degrees[word] = max(thousandths / 1000, degrees.get(word, _COLDEST_CELSIUS))
