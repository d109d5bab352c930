"""What a virtual device would have measured at a moment: a function of the machine and the time alone. Pure.

So nothing has to be stored while a device is away: what it missed to say can be told later.
"""

import math
import random

from agent.simulator.population import Machine

_DAY_S = 86_400.0


def figures(machine: Machine, at_s: float, *, serving: tuple[str, ...] = ()) -> dict[str, float]:
    """Give the figures at a time.

    Args:
        at_s: Seconds since 1970 UTC.
        serving: Models that the device serves: it is asked more by day than by night.
    """
    noise = random.Random(f"{machine.seed}/{machine.number}/{int(at_s)}")  # noqa: S311 (repeatable on purpose)
    facts, board = machine.facts, machine.board
    hour = (at_s / 3600 + machine.site.utc_offset_h) % 24
    day = max(0.0, math.sin((hour - 7) / 14 * math.pi)) if 7 <= hour <= 21 else 0.0  # 0 at night, 1 at 14 h
    load = min(1.0, max(0.01, 0.05 + 0.5 * day * (0.6 + 0.1 * (machine.number % 5)) + noise.gauss(0, 0.05)))
    ambient = machine.site.summer_celsius - 8 + 8 * day
    memory = facts.memory_bytes or 0
    idle, busy = board.watts
    told = {
        "cpu.ratio": round(load, 4),
        "memory.available_bytes": float(int(memory * (0.75 - 0.35 * load))),
        "memory.used_ratio": round(0.25 + 0.35 * load, 4),
        "disk.free_bytes": float(int((facts.disk_free_bytes or 0) * (1 - 0.02 * (at_s % _DAY_S) / _DAY_S))),
        "temperature.cpu_celsius": round(ambient + 14 + 32 * load + noise.gauss(0, 0.8), 1),
        "agent.rss_bytes": float(int(44e6 * (1 + 0.02 * noise.random()))),
    }
    if board.energy_counters:
        told["power.watts"] = round(idle + (busy - idle) * load * (1 + noise.gauss(0, 0.03)), 2)
    if facts.power_source == "battery":
        told["battery.ratio"] = round(0.65 + 0.35 * math.sin((hour - 9) / 24 * 2 * math.pi), 3)
    for model in serving:
        told[f"inference.{model}.requests"] = float(int(600 * load * (0.5 + day)))
        told[f"inference.{model}.latency_p50_ms"] = round(latency_ms(machine) * noise.lognormvariate(0, 0.05), 3)
    return told


def latency_ms(machine: Machine) -> float:
    """Give how long such a machine takes for a small net (1.3 million multiply-accumulates)."""
    return round(1.3e6 / machine.board.fp32_macs_per_s * 1e3 + 0.05, 3)
