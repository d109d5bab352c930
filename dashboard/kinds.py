"""Kinds of telemetry as people read them: which chart, which name in it, which unit. Pure.

A kind is dotted and ends with its unit: `temperature.cpu_celsius`, `memory.available_bytes`. Kinds are an open set, so
one that is not known gets a chart of its own first part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dashboard import format

_TITLES: Final = {
    "cpu": "CPU",
    "memory": "Memory",
    "temperature": "Temperature",
    "power": "Power",
    "disk": "Disk",
    "network": "Network",
    "inference": "Inference",
}
# The longest first: a kind that ends with `bytes_per_s` also ends with `s`.
_UNITS: Final = {
    "bytes_per_s": "B/s",
    "bits_per_s": "bit/s",
    "per_s": "1/s",
    "celsius": "°C",
    "watts": "W",
    "joules": "J",
    "volts": "V",
    "amperes": "A",
    "hertz": "Hz",
    "bytes": "B",
    "ratio": "%",
    "rpm": "rpm",
    "ms": "ms",
    "s": "s",
}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Kinds that share a chart: of one subject and one unit."""

    title: str
    unit: str
    kinds: tuple[str, ...]


def unit(kind: str) -> str:
    """Give a kind's unit; `%` for shares 0..1, empty for a count.

    >>> unit("cpu.ratio"), unit("network.sent_bytes_per_s"), unit("inference.digits.requests")
    ('%', 'B/s', '')
    """
    last = kind.rpartition(".")[2]
    return next((sign for name, sign in _UNITS.items() if last == name or last.endswith(f"_{name}")), "")


def name(kind: str) -> str:
    """Give a kind's name within its chart.

    >>> name("temperature.cpu_celsius"), name("inference.digits.latency_p50_ms"), name("cpu.ratio")
    ('cpu', 'digits latency p50', 'cpu')
    """
    subject, _, rest = kind.partition(".")
    ending = next((of for of in _UNITS if rest == of or rest.endswith((f"_{of}", f".{of}"))), "")
    said = rest.removesuffix(ending).strip("._").replace(".", " ").replace("_", " ")
    return said or subject.replace("_", " ")


def title(subject: str) -> str:
    """Give the title of a first part.

    >>> title("cpu"), title("agent_store")
    ('CPU', 'Agent store')
    """
    return _TITLES.get(subject, subject.replace("_", " ").capitalize())


def grouped(kinds: Iterable[str]) -> list[Group]:
    """Sort kinds into charts, what is known first.

    >>> [(found.title, found.unit, found.kinds) for found in grouped(["disk.free_bytes", "cpu.ratio", "cpu.mhz"])]
    [('CPU', '%', ('cpu.ratio',)), ('CPU', '', ('cpu.mhz',)), ('Disk', 'B', ('disk.free_bytes',))]
    """
    found: dict[tuple[str, str], list[str]] = {}
    for kind in sorted(kinds):
        found.setdefault((kind.partition(".")[0], unit(kind)), []).append(kind)
    order = list(_TITLES)
    ranked = sorted(
        found.items(),
        key=lambda item: (order.index(item[0][0]) if item[0][0] in order else len(order), item[0][0], -len(item[0][1])),
    )
    return [Group(title=title(subject), unit=sign, kinds=tuple(members)) for (subject, sign), members in ranked]


def figure(kind: str, value: float) -> str:
    """Say a figure in its unit.

    >>> figure("cpu.ratio", 0.431), figure("memory.available_bytes", 2**31), figure("power.watts", 5.25)
    ('43.1%', '2.0 GiB', '5.25 W')
    """
    return amount(unit(kind), value)


def amount(sign: str, value: float) -> str:
    """Say an amount of a unit.

    >>> amount("", 12345.0), amount("°C", 51.5), amount("B/s", 2048.0), amount("", 0.25)
    ('12,345', '51.5 °C', '2.0 KiB/s', '0.25')
    """
    if sign == "%":
        return format.ratio(value)
    if sign in ("B", "B/s"):
        size = format.size(int(abs(value)))
        return f"{'-' if value < 0 else ''}{size}{sign[1:]}"
    words = f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{words} {sign}".strip()
