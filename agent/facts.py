"""What this machine is. What cannot be read, and what the wire would refuse, is absent, never zero or invented.

Where each fact comes from: docs/facts.md. The readers stand in `agent.hardware`.
"""

import platform
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from agent import VERSION
from agent.hardware import accelerators, board, cpu, kept, meters, network, power
from agent.hardware.digest import hardware_id
from agent.hardware.files import printable, text
from agent.settings import Settings
from shoal.wire.devices import Accelerator, Facts
from shoal.wire.runtimes import available_runtimes

_VOLATILE: Final = ("temperatures_celsius", "battery_ratio", "round_trip_s", "download_bytes_per_s", "disk_free_bytes")
_DISK_SHARE: Final = 0.1  # of the disk: as much must its free space change to be worth a message


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What takes a while to find out, and is handed in.

    Attributes:
        probed: What vendors' libraries told of accelerators.
        metered: Interfaces to whether they are metered.
        way: How the controller is reached; None where it does not answer.
    """

    probed: tuple[Accelerator, ...] = ()
    metered: dict[str, bool] | None = None
    way: network.Way | None = None


def read_facts(
    settings: Settings,
    inference_url: str,
    surroundings: Surroundings | None = None,
    *,
    root: Path = Path("/"),
) -> Facts:
    """Read what this machine is and offers, in some milliseconds.

    Args:
        root: The root folder of the machine.
    """
    around = surroundings or Surroundings()
    machine = printable(platform.machine())
    feed = power.read(root=root)
    interfaces = network.interfaces(around.metered or {}, root=root)
    way = around.way
    total, free = _disk(settings.state)
    return valid(
        Facts(
            hostname=printable(socket.gethostname()),
            machine=machine,
            system=printable(f"{platform.system()} {platform.release()}"),
            python=platform.python_version(),
            agent_version=VERSION,
            runtimes=offered_runtimes(settings),
            runtime_options=settings.options(),
            can_train=find_spec("torch") is not None,
            hardware_id=hardware_id(settings, root=root),
            board=board.name(root=root),
            cpu_model=cpu.model(machine, root=root),
            cpu_cores=cpu.cores(root=root),
            isa=cpu.instruction_sets(machine, root=root),
            memory_bytes=board.memory_bytes(root=root),
            disk_bytes=total,
            disk_free_bytes=free,
            accelerators=accelerators.read(around.probed, root=root),
            power_source=feed.source,
            battery_ratio=feed.battery_ratio,
            energy_counters=meters.energy_counters(root=root),
            temperatures_celsius=meters.temperatures_celsius(root=root),
            interfaces=interfaces,
            is_metered=None if way is None or around.metered is None else around.metered.get(way.interface),
            time_zone=board.time_zone(root=root),
            round_trip_s=None if way is None else way.round_trip_s,
            download_bytes_per_s=kept.download_bytes_per_s(settings),
            measured=kept.measured(settings),
            inference_url=inference_url or None,
            ip_addresses=network.addresses([one.name for one in interfaces] + ([way.interface] if way else [])),
        )
    )


def valid(facts: Facts) -> Facts:
    """Give the facts without what the wire's bounds refuse: one odd value must not cost the whole report."""
    kept_fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(Facts):
        with suppress(msgspec.DecodeError, msgspec.ValidationError, UnicodeError, OverflowError, ValueError):
            told = msgspec.json.encode(getattr(facts, field.name))
            kept_fields[field.name] = msgspec.json.decode(told, type=field.type)
    for name in ("hostname", "machine", "system", "python", "agent_version"):  # which a report cannot do without
        kept_fields.setdefault(name, "")
    kept_fields.setdefault("runtimes", {})
    return Facts(**kept_fields)


def has_changed(told: Facts, now: Facts) -> bool:
    """Tell whether facts differ by what a controller wants to know at once: not by what always moves a little."""
    if told.disk_bytes and (told.disk_free_bytes is None) == (now.disk_free_bytes is None):
        moved = abs((told.disk_free_bytes or 0) - (now.disk_free_bytes or 0))
        if moved > _DISK_SHARE * told.disk_bytes:
            return True
    return _steady(told) != _steady(now)


def _steady(facts: Facts) -> dict[str, Any]:
    steady = {name: value for name, value in msgspec.structs.asdict(facts).items() if name not in _VOLATILE}
    # IPv6 addresses are made anew each day where privacy extensions are on.
    steady["ip_addresses"] = [address for address in facts.ip_addresses if ":" not in address]
    return steady


def offered_runtimes(settings: Settings) -> dict[str, str]:
    """Give the runtimes that are installed, narrowed by the setting, with their versions."""
    narrowed = settings.narrowed()
    return {name: version for name, version in available_runtimes().items() if not narrowed or name in narrowed}


def boot_id() -> str:
    """Give what changes with each boot of the machine."""
    return text(Path("/proc/sys/kernel/random/boot_id")) or str(int(psutil.boot_time()))


def _disk(folder: Path) -> tuple[int | None, int | None]:
    """Give size and free space of the file system that holds a folder, made or not."""
    with suppress(OSError, StopIteration):
        usage = shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.is_dir()))
        return usage.total, usage.free
    return None, None
