"""Machines that a fleet is made of, as their makers publish them.

Instruction sets, cores, memory and accelerators are of the data sheets of the processors (Arm's and Intel's product
pages, Raspberry Pi's and NVIDIA's product briefs, Rockchip's and Google's data sheets); `board` is the `model` of the
device tree in the kernel's or the maker's sources, on a PC the firmware's product name. The rates are not measured:
they are a fraction of what cores, width and clock allow, only to have something plausible to tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shoal.wire.devices import Accelerator

_GIB: Final = 2**30
_NEON: Final = ("neon",)
_DOTPROD: Final = ("neon", "dotprod")
_AVX2: Final = ("avx2",)
_AVX_VNNI: Final = ("avx2", "avx_vnni")
_AVX512: Final = ("avx2", "avx512f", "avx512_vnni")
_AMX: Final = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
_ONNX: Final = {"onnxruntime": "1.32.0"}
_LITERT: Final = {"litert": "2.3.0"}
_OPENVINO: Final = {"onnxruntime": "1.32.0", "openvino": "2026.4.1"}


@dataclass(frozen=True, kw_only=True)
class Board:
    """A kind of machine.

    Attributes:
        name: Short, for host names: `pi5`.
        share: How many of a hundred devices or so are of this kind.
        memory_bytes: The sizes that it is sold with.
        watts: Drawn when idle, and when busy.
        fp32_macs_per_s: On one core; int8 takes `int8_factor` of it.
        battery: Whether it may run on one.
        cellular: Whether it may be reached over a metered link.
    """

    name: str
    share: int
    board: str
    machine: str
    cpu_model: str
    cpu_cores: int
    isa: Sequence[str]
    memory_bytes: Sequence[int]
    disk_bytes: Sequence[int]
    runtimes: dict[str, str]
    watts: tuple[float, float]
    fp32_macs_per_s: float
    int8_factor: float
    accelerators: tuple[Accelerator, ...] = ()
    energy_counters: tuple[str, ...] = ()
    battery: bool = False
    cellular: bool = False


def _gpu(name: str, memory_gib: int, found_by: str = "device_tree") -> Accelerator:
    return Accelerator(kind="gpu", vendor="nvidia", name=name, found_by=found_by, memory_bytes=memory_gib * _GIB)


def _npu(name: str) -> Accelerator:
    return Accelerator(kind="npu", vendor="rockchip", name=name, found_by="device_node")


_CORAL: Final = Accelerator(kind="tpu", vendor="google", name="Edge TPU", found_by="device_node")
_HAILO: Final = Accelerator(kind="npu", vendor="hailo", name="Hailo-8L", found_by="device_node")
_XE: Final = Accelerator(kind="gpu", vendor="intel", name="Intel Iris Xe Graphics", found_by="openvino")

BOARDS: Final = (
    Board(
        name="pi5",
        share=18,
        board="Raspberry Pi 5 Model B Rev 1.0",
        machine="aarch64",
        cpu_model="Cortex-A76",
        cpu_cores=4,
        isa=_DOTPROD,
        memory_bytes=(4 * _GIB, 8 * _GIB, 16 * _GIB),
        disk_bytes=(64 * 10**9, 128 * 10**9),
        runtimes=_ONNX | _LITERT,
        watts=(2.7, 8.8),
        fp32_macs_per_s=1.1e10,
        int8_factor=3.2,
    ),
    Board(
        name="pi5hailo",
        share=4,
        board="Raspberry Pi 5 Model B Rev 1.0",
        machine="aarch64",
        cpu_model="Cortex-A76",
        cpu_cores=4,
        isa=_DOTPROD,
        memory_bytes=(8 * _GIB,),
        disk_bytes=(128 * 10**9,),
        runtimes=_ONNX | _LITERT,
        watts=(3.5, 11.0),
        fp32_macs_per_s=1.1e10,
        int8_factor=3.2,
        accelerators=(_HAILO,),
    ),
    Board(
        name="pi4",
        share=18,
        board="Raspberry Pi 4 Model B Rev 1.4",
        machine="aarch64",
        cpu_model="Cortex-A72",
        cpu_cores=4,
        isa=_NEON,
        memory_bytes=(2 * _GIB, 4 * _GIB, 8 * _GIB),
        disk_bytes=(32 * 10**9, 64 * 10**9),
        runtimes=_ONNX | _LITERT,
        watts=(2.5, 6.4),
        fp32_macs_per_s=4.6e9,
        int8_factor=1.6,
    ),
    Board(
        name="zero2",
        share=8,
        board="Raspberry Pi Zero 2 W Rev 1.0",
        machine="aarch64",
        cpu_model="Cortex-A53",
        cpu_cores=4,
        isa=_NEON,
        memory_bytes=(512 * 2**20,),
        disk_bytes=(16 * 10**9, 32 * 10**9),
        runtimes=_LITERT,
        watts=(0.7, 2.1),
        fp32_macs_per_s=1.7e9,
        int8_factor=1.5,
        battery=True,
    ),
    Board(
        name="cm4cam",
        share=8,
        board="Raspberry Pi Compute Module 4 Rev 1.0",
        machine="aarch64",
        cpu_model="Cortex-A72",
        cpu_cores=4,
        isa=_NEON,
        memory_bytes=(2 * _GIB, 4 * _GIB),
        disk_bytes=(16 * 10**9, 32 * 10**9),
        runtimes=_ONNX | _LITERT,
        watts=(2.4, 7.0),
        fp32_macs_per_s=3.9e9,
        int8_factor=1.6,
        cellular=True,
    ),
    Board(
        name="nano",
        share=6,
        board="NVIDIA Jetson Nano Developer Kit",
        machine="aarch64",
        cpu_model="Cortex-A57",
        cpu_cores=4,
        isa=_NEON,
        memory_bytes=(4 * _GIB,),
        disk_bytes=(64 * 10**9,),
        runtimes=_ONNX,
        watts=(2.0, 10.0),
        fp32_macs_per_s=4.0e9,
        int8_factor=1.5,
        accelerators=(_gpu("NVIDIA Tegra X1 (Maxwell, 128 cores)", 4),),
        energy_counters=("ina3221:POM_5V_IN", "ina3221:POM_5V_GPU", "ina3221:POM_5V_CPU"),
    ),
    Board(
        name="orinnano",
        share=8,
        board="NVIDIA Jetson Orin Nano Developer Kit",
        machine="aarch64",
        cpu_model="Cortex-A78AE",
        cpu_cores=6,
        isa=_DOTPROD,
        memory_bytes=(8 * _GIB,),
        disk_bytes=(128 * 10**9, 256 * 10**9),
        runtimes=_ONNX,
        watts=(4.5, 15.0),
        fp32_macs_per_s=8.0e9,
        int8_factor=3.4,
        accelerators=(_gpu("NVIDIA Jetson Orin Nano (Ampere, 1024 cores)", 8),),
        energy_counters=("ina3221:VDD_IN", "ina3221:VDD_CPU_GPU_CV", "ina3221:VDD_SOC"),
    ),
    Board(
        name="agxorin",
        share=2,
        board="NVIDIA Jetson AGX Orin Developer Kit",
        machine="aarch64",
        cpu_model="Cortex-A78AE",
        cpu_cores=12,
        isa=_DOTPROD,
        memory_bytes=(32 * _GIB, 64 * _GIB),
        disk_bytes=(64 * 10**9, 1000 * 10**9),
        runtimes=_ONNX,
        watts=(9.0, 60.0),
        fp32_macs_per_s=1.1e10,
        int8_factor=3.4,
        accelerators=(_gpu("NVIDIA Jetson AGX Orin (Ampere, 2048 cores)", 64),),
        energy_counters=("ina3221:VDD_GPU_SOC", "ina3221:VDD_CPU_CV", "ina3221:VIN_SYS_5V0"),
    ),
    Board(
        name="rock5b",
        share=7,
        board="Radxa ROCK 5B",
        machine="aarch64",
        cpu_model="Cortex-A76",
        cpu_cores=8,
        isa=_DOTPROD,
        memory_bytes=(8 * _GIB, 16 * _GIB),
        disk_bytes=(64 * 10**9, 256 * 10**9),
        runtimes=_ONNX | _LITERT,
        watts=(2.2, 11.0),
        fp32_macs_per_s=1.0e10,
        int8_factor=3.2,
        accelerators=(_npu("RK3588 NPU"),),
    ),
    Board(
        name="rv1126",
        share=5,
        board="Rockchip RV1126 EVB DDR3 V12 Board",
        machine="armv7l",
        cpu_model="Cortex-A7",
        cpu_cores=4,
        isa=_NEON,
        memory_bytes=(1 * _GIB,),
        disk_bytes=(8 * 10**9,),
        runtimes=_LITERT,
        watts=(0.8, 2.5),
        fp32_macs_per_s=1.2e9,
        int8_factor=1.4,
        accelerators=(_npu("RV1126 NPU"),),
        cellular=True,
    ),
    Board(
        name="coral",
        share=4,
        board="Google i.MX8MQ Phanbell",
        machine="aarch64",
        cpu_model="Cortex-A53",
        cpu_cores=4,
        isa=_NEON,
        memory_bytes=(1 * _GIB, 4 * _GIB),
        disk_bytes=(8 * 10**9,),
        runtimes=_LITERT,
        watts=(2.6, 7.0),
        fp32_macs_per_s=2.4e9,
        int8_factor=1.5,
        accelerators=(_CORAL,),
    ),
    Board(
        name="n100",
        share=4,
        board="MINI S12",
        machine="x86_64",
        cpu_model="Intel(R) N100",
        cpu_cores=4,
        isa=_AVX_VNNI,
        memory_bytes=(8 * _GIB, 16 * _GIB),
        disk_bytes=(256 * 10**9, 512 * 10**9),
        runtimes=_OPENVINO,
        watts=(6.0, 22.0),
        fp32_macs_per_s=2.4e10,
        int8_factor=3.4,
        energy_counters=("rapl:package-0",),
    ),
    Board(
        name="nuc11",
        share=5,
        board="NUC11TNHi7",
        machine="x86_64",
        cpu_model="11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz",
        cpu_cores=8,
        isa=_AVX512,
        memory_bytes=(16 * _GIB, 32 * _GIB),
        disk_bytes=(512 * 10**9,),
        runtimes=_OPENVINO,
        watts=(7.0, 45.0),
        fp32_macs_per_s=6.0e10,
        int8_factor=3.6,
        accelerators=(_XE,),
        energy_counters=("rapl:package-0", "rapl:core"),
    ),
    Board(
        name="ipc",
        share=2,
        board="PowerEdge XR4510c",
        machine="x86_64",
        cpu_model="Intel(R) Xeon(R) D-2776NT CPU @ 2.10GHz",
        cpu_cores=32,
        isa=_AVX512,
        memory_bytes=(64 * _GIB, 128 * _GIB),
        disk_bytes=(960 * 10**9,),
        runtimes=_OPENVINO,
        watts=(60.0, 180.0),
        fp32_macs_per_s=5.5e10,
        int8_factor=3.6,
        energy_counters=("rapl:package-0", "rapl:dram"),
    ),
    Board(
        name="edge",
        share=1,
        board="PowerEdge XR7620",
        machine="x86_64",
        cpu_model="Intel(R) Xeon(R) Gold 6421N",
        cpu_cores=64,
        isa=_AMX,
        memory_bytes=(256 * _GIB,),
        disk_bytes=(1920 * 10**9,),
        runtimes=_OPENVINO,
        watts=(140.0, 420.0),
        fp32_macs_per_s=7.0e10,
        int8_factor=14.0,
        accelerators=(_gpu("NVIDIA L4", 24, found_by="nvml"),),
        energy_counters=("rapl:package-0", "rapl:dram"),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where machines stand.

    Attributes:
        summer_celsius: Of an afternoon there: what temperatures rest on.
    """

    name: str
    time_zone: str
    utc_offset_h: float
    summer_celsius: float


SITES: Final = (
    Site(name="lyon", time_zone="Europe/Paris", utc_offset_h=1, summer_celsius=27),
    Site(name="oslo", time_zone="Europe/Oslo", utc_offset_h=1, summer_celsius=20),
    Site(name="gdansk", time_zone="Europe/Warsaw", utc_offset_h=1, summer_celsius=22),
    Site(name="porto", time_zone="Europe/Lisbon", utc_offset_h=0, summer_celsius=25),
    Site(name="izmir", time_zone="Europe/Istanbul", utc_offset_h=3, summer_celsius=33),
    Site(name="nagoya", time_zone="Asia/Tokyo", utc_offset_h=9, summer_celsius=33),
    Site(name="pune", time_zone="Asia/Kolkata", utc_offset_h=5.5, summer_celsius=32),
    Site(name="austin", time_zone="America/Chicago", utc_offset_h=-6, summer_celsius=35),
    Site(name="quito", time_zone="America/Guayaquil", utc_offset_h=-5, summer_celsius=19),
    Site(name="perth", time_zone="Australia/Perth", utc_offset_h=8, summer_celsius=31),
)
