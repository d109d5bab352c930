"""The processor: its name, the cores that this process may use, and what its instructions do for neural networks."""

import math
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.hardware import cgroups
from agent.hardware.files import lines, printable

_MAX_VECTOR_BYTES: Final = 4096
# What /proc/cpuinfo calls them -> what the wire does. x86: arch/x86/include/asm/cpufeatures.h in the kernel;
# 64-bit Arm: Documentation/arch/arm64/elf_hwcaps.rst; 32-bit Arm: arch/arm/kernel/setup.c (hwcap_str).
_X86: Final = {
    "sse4_2": "sse4_2",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "avx_vnni": "avx_vnni",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
}
_ARM64: Final = {
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "bf16": "bf16",
    "i8mm": "i8mm",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
# The same by the bits of the auxiliary vector (arch/arm64/include/uapi/asm/hwcap.h), for a kernel that hides them.
_ARM64_BITS: Final = {
    16: {1: "neon", 10: "fp16", 20: "dotprod", 22: "sve"},  # AT_HWCAP
    26: {1: "sve2", 13: "i8mm", 14: "bf16", 23: "sme"},  # AT_HWCAP2
}
_ARM32: Final = {**_ARM64, "neon": "neon"}  # a new kernel tells 32-bit programs the newer names too
# `CPU part` by `CPU implementer`: arch/arm64/include/asm/cputype.h in the kernel, lscpu-arm.c in util-linux.
_PARTS: Final = {
    0x41: {
        0xB76: "ARM1176",
        0xC05: "Cortex-A5",
        0xC07: "Cortex-A7",
        0xC08: "Cortex-A8",
        0xC09: "Cortex-A9",
        0xC0E: "Cortex-A17",
        0xC0F: "Cortex-A15",
        0xD03: "Cortex-A53",
        0xD04: "Cortex-A35",
        0xD05: "Cortex-A55",
        0xD07: "Cortex-A57",
        0xD08: "Cortex-A72",
        0xD09: "Cortex-A73",
        0xD0A: "Cortex-A75",
        0xD0B: "Cortex-A76",
        0xD0C: "Neoverse-N1",
        0xD0D: "Cortex-A77",
        0xD0E: "Cortex-A76AE",
        0xD40: "Neoverse-V1",
        0xD41: "Cortex-A78",
        0xD42: "Cortex-A78AE",
        0xD44: "Cortex-X1",
        0xD46: "Cortex-A510",
        0xD47: "Cortex-A710",
        0xD48: "Cortex-X2",
        0xD49: "Neoverse-N2",
        0xD4B: "Cortex-A78C",
        0xD4D: "Cortex-A715",
        0xD4E: "Cortex-X3",
        0xD4F: "Neoverse-V2",
        0xD80: "Cortex-A520",
        0xD81: "Cortex-A720",
        0xD82: "Cortex-X4",
        0xD84: "Neoverse-V3",
        0xD85: "Cortex-X925",
        0xD87: "Cortex-A725",
        0xD8E: "Neoverse-N3",
    },
    0x4E: {0x003: "Denver 2", 0x004: "Carmel"},
    0x51: {0x800: "Kryo 2xx Gold", 0x801: "Kryo 2xx Silver", 0x802: "Kryo 3xx Gold", 0x803: "Kryo 3xx Silver"},
    0xC0: {0xAC3: "Ampere-1", 0xAC4: "Ampere-1a"},
}


def model(machine: str, *, root: Path = Path("/")) -> str | None:
    """Give the processor's name; several kinds of cores in one are joined, those of the first core last.

    Args:
        machine: As `uname -m` says it.
    """
    table = lines(root / "proc/cpuinfo")
    if not _is_arm(machine):
        return next(iter(_values(table, "model name")), "") or None
    kinds = [
        name
        for implementer, part in zip(_numbers(table, "CPU implementer"), _numbers(table, "CPU part"), strict=False)
        if (name := _PARTS.get(implementer, {}).get(part))
    ]
    return " + ".join(reversed(dict.fromkeys(kinds))) or None


def instruction_sets(machine: str, *, root: Path = Path("/")) -> list[str]:
    """Give the instruction sets that every core has, sorted."""
    table = lines(root / "proc/cpuinfo")
    is_arm = _is_arm(machine)
    names = (_ARM64 if machine.startswith("aarch64") else _ARM32) if is_arm else _X86
    told = [set(flags.split()) for flags in _values(table, "Features" if is_arm else "flags")]
    if not told and machine.startswith("aarch64"):
        return _auxiliary_sets(root / "proc/self/auxv")
    shared = set.intersection(*told) if told else set()
    return sorted({names[flag] for flag in shared & set(names)})


def cores(*, root: Path = Path("/")) -> int | None:
    """Give how many logical cores this process may use: of its affinity, and of its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cgroups.cpu_quota(root=root)
    if allowed is None or quota is None:
        return allowed
    return max(min(allowed, math.ceil(quota)), 1)


def _auxiliary_sets(path: Path) -> list[str]:
    """Read the vector that the kernel hands to each program: pairs of a key and a value, 8 bytes each."""
    found: set[str] = set()
    with suppress(OSError), path.open("rb") as file:
        vector = file.read(_MAX_VECTOR_BYTES)
        for key, value in struct.iter_unpack("=QQ", vector[: len(vector) // 16 * 16]):
            found |= {name for bit, name in _ARM64_BITS.get(key, {}).items() if value >> bit & 1}
    return sorted(found)


def _is_arm(machine: str) -> bool:
    return machine.startswith(("arm", "aarch64"))


def _values(table: Iterable[str], key: str) -> list[str]:
    found = []
    for line in table:
        name, _, value = line.partition(":")
        if name.strip() == key:
            found.append(printable(value.strip()) if key == "model name" else value.strip())
    return found


def _numbers(table: Iterable[str], key: str) -> list[int]:
    found = []
    for value in _values(table, key):
        try:
            found.append(int(value, 16))
        except ValueError:
            found.append(-1)
    return found
