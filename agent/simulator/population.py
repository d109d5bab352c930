"""Which machines a fleet has: from a seed and a number, the same machine each time. Pure."""

import hashlib
import random
from dataclasses import dataclass

from agent import VERSION
from agent.simulator.boards import BOARDS, SITES, Board, Site
from shoal.wire.devices import Accelerator, Facts, Measured, NetworkInterface

_MIN_TRAINING_BYTES = 2 * 2**30


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, as its facts will say when it has just booted."""

    seed: int
    number: int
    board: Board
    site: Site
    facts: Facts

    @property
    def name(self) -> str:
        """Its host name."""
        return self.facts.hostname


def chance(seed: int, number: int, purpose: str) -> random.Random:
    """Give a machine's own chance for one purpose; others do not change it.

    >>> chance(1, 2, "facts").random() == chance(1, 2, "facts").random() != chance(1, 3, "facts").random()
    True
    """
    return random.Random(f"{seed}/{number}/{purpose}")  # noqa: S311 (repeatable on purpose)


def machine(seed: int, number: int) -> Machine:
    """Give a machine.

    >>> machine(7, 0).name == machine(7, 0).name != machine(7, 1).name
    True
    """
    luck = chance(seed, number, "machine")
    board = luck.choices(BOARDS, [one.share for one in BOARDS])[0]
    site = luck.choice(SITES)
    memory = luck.choice(board.memory_bytes)
    disk = luck.choice(board.disk_bytes)
    is_metered = True if board.cellular and luck.random() < 0.4 else None
    on_battery = board.battery and luck.random() < 0.5
    hardware = hashlib.sha256(f"shoal simulator {seed} {number}".encode()).hexdigest()
    facts = Facts(
        hostname=f"{board.name}-{site.name}-{number:05d}",
        machine=board.machine,
        system=_system(board),
        python=luck.choice(["3.11.2", "3.12.3", "3.13.1"]),
        agent_version=VERSION,
        runtimes=dict(board.runtimes),
        can_train=memory >= _MIN_TRAINING_BYTES and board.machine != "armv7l",
        hardware_id=hardware,
        board=board.board,
        cpu_model=board.cpu_model,
        cpu_cores=board.cpu_cores,
        isa=list(board.isa),
        memory_bytes=int(memory * 0.97),  # the kernel and firmware keep the rest
        disk_bytes=int(disk * 0.93),
        disk_free_bytes=int(disk * luck.uniform(0.2, 0.8)),
        accelerators=[_fitted(one, memory) for one in board.accelerators],
        power_source="battery" if on_battery else "mains",
        battery_ratio=round(luck.uniform(0.3, 1.0), 2) if on_battery else None,
        energy_counters=list(board.energy_counters),
        temperatures_celsius={"cpu": round(site.summer_celsius + luck.uniform(15, 30), 1)},
        interfaces=[_interface(board, luck, is_metered=is_metered)],
        is_metered=is_metered,
        time_zone=site.time_zone,
        round_trip_s=round(luck.lognormvariate(-3.5, 0.6), 4),
        download_bytes_per_s=float(int(luck.lognormvariate(15.0, 0.8))),
        measured=measured(board, luck, "2026-01-01T00:00:00+00:00"),
        ip_addresses=[f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"],
    )
    return Machine(seed=seed, number=number, board=board, site=site, facts=facts)


def measured(board: Board, luck: random.Random, at: str) -> Measured:
    """Give what a benchmark would have measured on such a machine: a few percent apart each time."""
    rate = board.fp32_macs_per_s * luck.gauss(1, 0.03)
    return Measured(
        measured_at=at,
        fp32_macs_per_s=round(rate),
        int8_macs_per_s=round(rate * board.int8_factor * luck.gauss(1, 0.02)),
        memory_bytes_per_s=round(max(rate * 0.4, 5e8) * luck.gauss(1, 0.04)),
        storage_bytes_per_s=round(luck.lognormvariate(17.8, 0.5)),
    )


def _system(board: Board) -> str:
    if "Jetson" in board.board:
        return "Linux 5.15.148-tegra" if "Orin" in board.board else "Linux 4.9.337-tegra"
    if board.name.startswith(("pi", "zero", "cm4")):
        return "Linux 6.6.51+rpt-rpi-v8"
    return "Linux 6.1.0-28-amd64" if board.machine == "x86_64" else "Linux 6.1.75"


def _fitted(accelerator: Accelerator, memory: int) -> Accelerator:
    """Give an accelerator with memory that the machine has: a Jetson's GPU shares the main memory."""
    if accelerator.memory_bytes is None or accelerator.found_by != "device_tree":
        return accelerator
    return Accelerator(
        kind=accelerator.kind,
        vendor=accelerator.vendor,
        name=accelerator.name,
        found_by=accelerator.found_by,
        memory_bytes=memory,
    )


def _interface(board: Board, luck: random.Random, *, is_metered: bool | None) -> NetworkInterface:
    if is_metered:
        return NetworkInterface(name="wwan0", kind="cellular", is_up=True, is_metered=True)
    if board.name == "zero2" or luck.random() < 0.25:
        return NetworkInterface(name="wlan0", kind="wifi", is_up=True, is_metered=False)
    return NetworkInterface(name="eth0", kind="ethernet", is_up=True, is_metered=False, speed_bits_per_s=10**9)
