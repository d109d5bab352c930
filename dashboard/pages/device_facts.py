"""A device's facts in readable groups. Pure; what is absent is left out, what is not known here is Other."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard

from dashboard import format, kinds, wording

Facts = list[tuple[str, Any]]
_KNOWN: Final = frozenset(
    {
        "hostname",
        "machine",
        "system",
        "python",
        "agent_version",
        "runtimes",
        "runtime_options",
        "can_train",
        "hardware_id",
        "board",
        "cpu_model",
        "cpu_cores",
        "isa",
        "memory_bytes",
        "disk_bytes",
        "disk_free_bytes",
        "accelerators",
        "power_source",
        "battery_ratio",
        "energy_counters",
        "temperatures_celsius",
        "interfaces",
        "is_metered",
        "time_zone",
        "round_trip_s",
        "download_bytes_per_s",
        "measured",
        "inference_url",
        "ip_addresses",
    }
)
_MEASURED: Final = {
    "fp32_macs_per_s": "fp32, one core",
    "int8_macs_per_s": "int8, one core",
    "memory_bytes_per_s": "Memory copied, one core",
    "storage_bytes_per_s": "Storage written and synced",
}


def fact_groups(facts: Mapping[str, Any]) -> list[tuple[str, Facts]]:
    """Give groups of facts, each with its title; empty ones are left out."""
    groups: list[tuple[str, Facts]] = [
        ("Hardware", _hardware(facts)),
        ("Accelerators", _accelerators(facts)),
        ("Power and heat", _power(facts)),
        ("Network", _network(facts)),
        ("Measured", _measured(facts)),
        ("Software", _software(facts)),
        ("Other", [(_words(name), _plain(value)) for name, value in sorted(facts.items()) if name not in _KNOWN]),
    ]
    kept = [(title, [(name, value) for name, value in found if value not in (None, "")]) for title, found in groups]
    return [(title, found) for title, found in kept if found]


def rate(per_s: object) -> str:
    """Say multiply-accumulates a second.

    >>> rate(2.5e9), rate(350e6), rate(None)
    ('2.5 GMAC/s', '350 MMAC/s', '')
    """
    if not _is_number(per_s):
        return ""
    amount = float(per_s)
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= size:
            return f"{amount / size:.3g} {prefix}MAC/s"
    return f"{amount:.3g} MAC/s"


def _hardware(facts: Mapping[str, Any]) -> Facts:
    cores = facts.get("cpu_cores")
    return [
        ("Board", facts.get("board")),
        ("CPU", facts.get("cpu_model")),
        ("Cores", cores if _is_number(cores) else ""),
        ("Machine", facts.get("machine")),
        ("Instruction sets", ", ".join(_texts(facts.get("isa")))),
        ("Memory", _size(facts.get("memory_bytes"))),
        ("Disk", _of(facts.get("disk_free_bytes"), facts.get("disk_bytes"))),
    ]


def _accelerators(facts: Mapping[str, Any]) -> Facts:
    found: Facts = []
    for one in _maps(facts.get("accelerators")):
        memory = _size(one.get("memory_bytes"))
        what = ", ".join(part for part in (str(one.get("name") or ""), memory) if part)
        how = str(one.get("found_by") or "").replace("_", " ")
        found.append((str(one.get("kind") or "chip").upper(), f"{what} (by {how})" if how else what))
    return found


def _power(facts: Mapping[str, Any]) -> Facts:
    battery, heat = facts.get("battery_ratio"), facts.get("temperatures_celsius")
    sensors = heat if isinstance(heat, Mapping) else {}
    return [
        ("Power", facts.get("power_source")),
        ("Battery", format.ratio(float(battery)) if _is_number(battery) else ""),
        ("Energy counters", ", ".join(_texts(facts.get("energy_counters")))),
        *((f"Heat, {name}", kinds.amount("°C", value)) for name, value in sorted(sensors.items()) if _is_number(value)),
    ]


def _network(facts: Mapping[str, Any]) -> Facts:
    speed, trip = facts.get("download_bytes_per_s"), facts.get("round_trip_s")
    return [
        *((str(one.get("name") or "?"), _interface(one)) for one in _maps(facts.get("interfaces"))),
        ("Metered", _yes_no(facts.get("is_metered"))),
        ("Round trip", format.milliseconds(float(trip) * 1000) if _is_number(trip) else ""),
        ("Download", kinds.amount("B/s", float(speed)) if _is_number(speed) else ""),
        ("Addresses", ", ".join(_texts(facts.get("ip_addresses")))),
        ("Inference", facts.get("inference_url")),
    ]


def _interface(one: Mapping[str, Any]) -> str:
    speed = one.get("speed_bits_per_s")
    parts = [
        str(one.get("kind") or ""),
        "up" if one.get("is_up") else "down",
        f"{float(speed) / 1e6:g} Mbit/s" if _is_number(speed) else "",
        "metered" if one.get("is_metered") else "",
    ]
    return ", ".join(part for part in parts if part)


def _measured(facts: Mapping[str, Any]) -> Facts:
    measured = facts.get("measured")
    if not isinstance(measured, Mapping):
        return []
    found: Facts = []
    for name, words in _MEASURED.items():
        value = measured.get(name)
        is_rate = name.endswith("macs_per_s")
        found.append((words, rate(value) if is_rate else kinds.amount("B/s", value) if _is_number(value) else ""))
    at = format.moment(measured.get("measured_at"))
    return [*found, ("When", f"{at:%Y-%m-%d %H:%M} UTC" if at else "")]


def _software(facts: Mapping[str, Any]) -> Facts:
    offered = facts.get("runtimes")
    versions = sorted(offered.items()) if isinstance(offered, Mapping) else []
    told = facts.get("runtime_options")
    options = told if isinstance(told, Mapping) else {}
    return [
        ("Host name", facts.get("hostname")),
        ("System", facts.get("system")),
        ("Runtimes", ", ".join(f"{wording.runtime(name)} {version}" for name, version in versions)),
        ("Runtimes use", ", ".join(f"{name} = {value}" for name, value in sorted(options.items()))),
        ("Can train", _yes_no(facts.get("can_train"))),
        ("Agent", facts.get("agent_version")),
        ("Python", facts.get("python")),
        ("Time zone", facts.get("time_zone")),
        ("Hardware id", facts.get("hardware_id")),
    ]


def _of(free: object, whole: object) -> str:
    if _size(free) and _size(whole):
        return f"{_size(free)} free of {_size(whole)}"
    return f"{_size(free)} free" if _size(free) else _size(whole)


def _size(amount: object) -> str:
    return format.size(int(amount)) if _is_number(amount) else ""


def _yes_no(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, "") if isinstance(value, bool) else ""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(value: object) -> Iterable[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)
