"""Processors, memory, time zone: `/proc/cpuinfo` as arch/x86/kernel/cpu/proc.c, arch/arm64/kernel/cpuinfo.c and
arch/arm/kernel/setup.c print it, control groups as `man 7 cgroups` says."""

import os
import struct
from pathlib import Path

import pytest

from agent.hardware import board, cgroups, cpu
from tests.machines import write

GIB = 2**30


def arm_core(part: str, features: str, implementer: str = "0x41") -> str:
    return (
        f"processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: {implementer}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
    )


A53 = arm_core("0xd03", "fp asimd evtstrm crc32 cpuid")
A55 = arm_core("0xd05", "fp asimd fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp")
A76 = arm_core("0xd0b", "fp asimd fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp")
A78AE = arm_core("0xd42", "fp asimd fphp asimdhp asimddp uscat ilrcpc flagm paca pacg")
V2 = arm_core("0xd4f", "fp asimd fphp asimdhp asimddp sve sve2 svei8mm i8mm bf16 dgh bti")


@pytest.mark.parametrize(
    ("machine", "text", "model", "sets"),
    [
        ("aarch64", A53 * 4, "Cortex-A53", ["neon"]),
        ("aarch64", A76 * 4 + "Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n", "Cortex-A76", ["dotprod", "fp16", "neon"]),
        ("aarch64", A55 * 4 + A76 * 4, "Cortex-A76 + Cortex-A55", ["dotprod", "fp16", "neon"]),
        ("aarch64", A78AE * 12, "Cortex-A78AE", ["dotprod", "fp16", "neon"]),
        ("aarch64", V2, "Neoverse-V2", ["bf16", "dotprod", "fp16", "i8mm", "neon", "sve", "sve2"]),
        ("aarch64", A55 + A53, "Cortex-A53 + Cortex-A55", ["neon"]),
        ("aarch64", arm_core("0xfff", "fp asimd", "0x99"), None, ["neon"]),
        ("armv7l", arm_core("0xc07", "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva"), "Cortex-A7", ["neon"]),
        ("armv6l", arm_core("0xb76", "half thumb fastmult vfp edsp java tls"), "ARM1176", []),
        (
            "x86_64",
            "processor\t: 0\nmodel name\t: Intel(R) N100\nflags\t\t: fpu sse4_2 avx f16c fma avx2 avx_vnni\n\n",
            "Intel(R) N100",
            ["avx", "avx2", "avx_vnni", "f16c", "fma", "sse4_2"],
        ),
        (
            "x86_64",
            "model name\t: Intel(R) Xeon(R)\nflags\t\t: avx2 avx512f avx512_vnni amx_bf16 amx_tile amx_int8\n\n",
            "Intel(R) Xeon(R)",
            ["amx_bf16", "amx_int8", "amx_tile", "avx2", "avx512_vnni", "avx512f"],
        ),
        ("x86_64", "", None, []),
        ("aarch64", "model name\t: AMD EPYC\nflags\t\t: avx2\n\n", None, []),  # what user-mode emulation lets through
    ],
)
def test_processor_when_the_kernel_lists_it_then_is_named_with_what_all_its_cores_can_do(
    tmp_path: Path, machine: str, text: str, model: str | None, sets: list[str]
) -> None:
    write(tmp_path, {"proc/cpuinfo": text})
    assert cpu.model(machine, root=tmp_path) == model
    assert cpu.instruction_sets(machine, root=tmp_path) == sets


def test_instruction_sets_when_only_the_auxiliary_vector_tells_then_come_from_its_bits(tmp_path: Path) -> None:
    vector = struct.pack("=8Q", 16, 1 << 1 | 1 << 20, 26, 1 << 13, 6, 4096, 0, 0)  # HWCAP, HWCAP2, page size, end
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/auxv").write_bytes(vector + b"cut")
    assert cpu.instruction_sets("aarch64", root=tmp_path) == ["dotprod", "i8mm", "neon"]
    assert cpu.instruction_sets("x86_64", root=tmp_path) == []


def test_cores_when_a_control_group_has_a_quota_then_are_no_more_than_it_pays_for(tmp_path: Path) -> None:
    allowed = len(os.sched_getaffinity(0))
    assert cpu.cores(root=tmp_path) == allowed
    write(tmp_path, {"proc/self/cgroup": "0::/system.slice/shoal-agent.service\n"})
    write(tmp_path, {"sys/fs/cgroup/system.slice/cpu.max": "50000 100000\n"})
    assert cpu.cores(root=tmp_path) == 1
    write(tmp_path, {"sys/fs/cgroup/system.slice/cpu.max": "max 100000\n"})
    assert cpu.cores(root=tmp_path) == allowed


def test_limits_when_control_groups_nest_then_the_tightest_counts(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/system.slice"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/shoal-agent.service\n",
            f"{group}/memory.max": f"{2 * GIB}\n",
            f"{group}/shoal-agent.service/memory.max": "max\n",
            f"{group}/shoal-agent.service/cpu.max": "150000 100000\n",
        },
    )
    assert cgroups.memory_limit_bytes(root=tmp_path) == 2 * GIB
    assert cgroups.cpu_quota(root=tmp_path) == 1.5


def test_limits_when_control_groups_are_of_version_1_then_are_read_as_well(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "9:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": "9223372036854771712\n",  # no limit
            "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_quota_us": "25000\n",
            "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroups.memory_limit_bytes(root=tmp_path) == GIB
    assert cgroups.cpu_quota(root=tmp_path) == 0.25


def test_memory_when_a_limit_is_smaller_then_is_the_limit(tmp_path: Path) -> None:
    assert board.memory_bytes(root=tmp_path) is None
    write(tmp_path, {"proc/meminfo": "MemTotal:        8129240 kB\nMemFree: 1 kB\n", "proc/self/cgroup": "0::/\n"})
    assert board.memory_bytes(root=tmp_path) == 8129240 * 1024
    write(tmp_path, {"sys/fs/cgroup/memory.max": f"{GIB}\n"})
    assert board.memory_bytes(root=tmp_path) == GIB


@pytest.mark.parametrize(
    ("link", "variable", "zone"),
    [
        ("/usr/share/zoneinfo/Europe/Paris", "", "Europe/Paris"),
        ("../usr/share/zoneinfo/America/Argentina/Ushuaia", "", "America/Argentina/Ushuaia"),
        ("/usr/share/zoneinfo/posix/Asia/Tokyo", "", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/Etc/GMT+3", "", "Etc/GMT+3"),
        ("/usr/share/zoneinfo/Europe/Paris", "Asia/Kolkata", "Asia/Kolkata"),
        ("/usr/share/zoneinfo/Europe/Paris", ":/usr/share/zoneinfo/Asia/Kolkata", "Asia/Kolkata"),
        ("/usr/share/zoneinfo/Europe/Paris", "CET-1CEST,M3.5.0,M10.5.0/3", None),
        ("/usr/share/zoneinfo/Europe/Paris", "CET-1CEST", None),
        ("/usr/share/zoneinfo/../../\x07", "", None),
        ("/etc/somewhere/else", "", None),
    ],
)
def test_time_zone_when_the_system_names_it_then_is_of_the_iana_data_base(
    tmp_path: Path, link: str, variable: str, zone: str | None
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to(link)
    assert board.time_zone(root=tmp_path, told=variable) == zone


def test_time_zone_when_there_is_no_link_then_debians_file_or_utc(tmp_path: Path) -> None:
    assert board.time_zone(root=tmp_path, told="") == "UTC"
    write(tmp_path, {"etc/timezone": "Europe/Oslo\n"})
    assert board.time_zone(root=tmp_path, told="") == "Europe/Oslo"
    write(tmp_path, {"etc/localtime": "TZif2"})
    assert board.time_zone(root=tmp_path, told="") == "Europe/Oslo"
