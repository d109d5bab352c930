"""What hardware a device is, as far as the speed and the answers of a model depend on it. Pure.

What was measured on one device counts for all of its class, whatever they are called and wherever they are.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_GIB: Final = 2**30
_REVISION: Final = re.compile(r"\s+Rev\.?\s+[0-9.]+$", re.IGNORECASE)  # of a board: the same parts on it


@dataclass(frozen=True, kw_only=True)
class HardwareClass:
    """A kind of hardware.

    Attributes:
        digest: 12 hexadecimal digits; among a million classes two share one with a probability of 0.002.
        words: For people: `Raspberry Pi 5 Model B, Cortex-A76, 4 cores, 8 GiB`.
    """

    digest: str
    words: str


def class_of(facts: Mapping[str, Any]) -> HardwareClass:
    """Give the class of a device by its facts (`shoal.wire.devices.Facts`).

    >>> class_of({"board": "Raspberry Pi 5 Model B Rev 1.0", "cpu_cores": 4, "memory_bytes": 8_331_000_000}).words
    'Raspberry Pi 5 Model B, 4 cores, 8 GiB'
    """
    board = _REVISION.sub("", _text(facts.get("board")))
    processor, machine = _text(facts.get("cpu_model")), _text(facts.get("machine"))
    cores, memory = facts.get("cpu_cores"), rounded_memory(facts.get("memory_bytes"))
    accelerators = _accelerators(facts.get("accelerators") or ())
    options = sorted((facts.get("runtime_options") or {}).items())
    parts = [board, processor, machine, cores, sorted(facts.get("isa") or ()), accelerators, memory]
    parts += [options] if options else []
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()[:12]
    named = [board, processor or machine]
    named += [f"{cores} {'core' if cores == 1 else 'cores'}"] if cores else []
    named += [_size(memory)] if memory else []
    named += [name for _, _, name in accelerators]
    named += [f"{option}={value}" for option, value in options]
    return HardwareClass(digest=digest, words=", ".join(part for part in named if part) or "unknown hardware")


def rounded_memory(size_bytes: int | None) -> int:
    """Give the size that a machine's memory is sold as: kernels and firmware keep some of it; 0 where it is unknown.

    >>> [rounded_memory(int(size * 2**30)) / 2**30 for size in (0.42, 3.7, 7.76, 11.4)]
    [0.5, 4.0, 8.0, 12.0]
    """
    if not size_bytes:
        return 0
    power = 1 << (size_bytes - 1).bit_length()
    return power * 3 // 4 if size_bytes <= power * 3 // 4 else power


def _accelerators(told: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return sorted((_text(one.get("kind")), _text(one.get("vendor")), _text(one.get("name"))) for one in told)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:g} GiB" if size_bytes >= _GIB else f"{size_bytes // 2**20} MiB"


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
