"""Boards and their accelerators, on the strings of their device trees.

Each row names the file of the kernel's sources (or the maker's) that the `model` and `compatible` were read in; a
Raspberry Pi's boot loader appends the revision to the model. Nothing else of a machine is written.
"""

from pathlib import Path

import pytest

from agent.hardware import accelerators, board
from shoal.wire.devices import Accelerator
from tests.machines import driver, tree, write

DTS, DTS32 = "arch/arm64/boot/dts", "arch/arm/boot/dts"
BOARDS = [
    ("Raspberry Pi 3 Model B", ("raspberrypi,3-model-b", "brcm,bcm2837"), f"{DTS32}/broadcom/bcm2837-rpi-3-b.dts"),
    ("Raspberry Pi 4 Model B", ("raspberrypi,4-model-b", "brcm,bcm2711"), f"{DTS32}/broadcom/bcm2711-rpi-4-b.dts"),
    ("Raspberry Pi 5", ("raspberrypi,5-model-b", "brcm,bcm2712"), f"{DTS}/broadcom/bcm2712-rpi-5-b-ovl-rp1.dts"),
    (
        "Raspberry Pi Zero 2 W",
        ("raspberrypi,model-zero-2-w", "brcm,bcm2837"),
        f"{DTS32}/broadcom/bcm2837-rpi-zero-2-w.dts",
    ),
    (
        "NVIDIA Jetson Nano Developer Kit",
        ("nvidia,p3450-0000", "nvidia,tegra210"),
        f"{DTS}/nvidia/tegra210-p3450-0000.dts",
    ),
    (
        "NVIDIA Jetson Xavier NX Developer Kit (SD-card)",
        ("nvidia,p3509-0000+p3668-0000", "nvidia,tegra194"),
        f"{DTS}/nvidia/tegra194-p3509-0000+p3668-0000.dts",
    ),
    (
        "NVIDIA Jetson Orin Nano Developer Kit",
        ("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"),
        f"{DTS}/nvidia/tegra234-p3768-0000+p3767-0005.dts",
    ),
    (
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"),
        f"{DTS}/nvidia/tegra234-p3768-0000+p3767-0000.dts",
    ),
    (
        "NVIDIA Jetson AGX Orin Developer Kit",
        ("nvidia,p3737-0000+p3701-0000", "nvidia,p3701-0000", "nvidia,tegra234"),
        f"{DTS}/nvidia/tegra234-p3737-0000+p3701-0000.dts",
    ),
    ("Radxa ROCK 5B", ("radxa,rock-5b", "rockchip,rk3588"), f"{DTS}/rockchip/rk3588-rock-5b.dts"),
    ("Xunlong Orange Pi 5", ("xunlong,orangepi-5", "rockchip,rk3588s"), f"{DTS}/rockchip/rk3588s-orangepi-5.dts"),
    ("Radxa ROCK 4D", ("radxa,rock-4d", "rockchip,rk3576"), f"{DTS}/rockchip/rk3576-rock-4d.dts"),
    ("Radxa ROCK 3A", ("radxa,rock3a", "rockchip,rk3568"), f"{DTS}/rockchip/rk3568-rock-3a.dts"),
]
GPUS = {"tegra210": "Tegra X1 (Maxwell)", "tegra194": "Xavier (Volta)", "tegra234": "Orin (Ampere)"}
JETSONS = [row for row in BOARDS if "Jetson" in row[0]]
ROCKCHIPS = [row for row in BOARDS if "rockchip" in row[1][-1]]
OTHERS = [row for row in BOARDS if row not in JETSONS]


@pytest.mark.parametrize(("model", "compatible", "_source"), BOARDS)
@pytest.mark.parametrize("folder", ["proc/device-tree", "sys/firmware/devicetree/base"])
def test_board_when_there_is_a_device_tree_then_bears_its_model(
    tmp_path: Path, model: str, compatible: tuple[str, ...], _source: str, folder: str
) -> None:
    write(tmp_path, {f"{folder}/model": f"{model}\0", f"{folder}/compatible": "\0".join((*compatible, ""))})
    assert board.name(root=tmp_path) == model
    assert board.compatible(root=tmp_path) == list(compatible)


def test_board_when_it_is_a_pc_then_bears_the_firmwares_product_name(tmp_path: Path) -> None:
    write(tmp_path, {"sys/class/dmi/id/product_name": "NUC11TNHi7\n", "sys/class/dmi/id/board_name": "NUC11TNBi7\n"})
    assert board.name(root=tmp_path) == "NUC11TNHi7"


@pytest.mark.parametrize("unfilled", ["System Product Name", "To Be Filled By O.E.M.", "Default string", ""])
def test_board_when_the_maker_left_the_product_unnamed_then_the_main_board_is_named(
    tmp_path: Path, unfilled: str
) -> None:
    write(tmp_path, {"sys/class/dmi/id/product_name": f"{unfilled}\n", "sys/class/dmi/id/board_name": "PRIME Z390-A\n"})
    assert board.name(root=tmp_path) == "PRIME Z390-A"


def test_board_when_nothing_names_it_then_is_absent(tmp_path: Path) -> None:
    assert board.name(root=tmp_path) is None


@pytest.mark.parametrize(("model", "compatible", "_source"), JETSONS)
def test_accelerators_when_the_board_is_a_jetson_then_are_its_chips_gpu(
    tmp_path: Path, model: str, compatible: tuple[str, ...], _source: str
) -> None:
    tree(tmp_path, model, *compatible)
    name = GPUS[compatible[-1].removeprefix("nvidia,")]
    gpu = Accelerator(kind="gpu", vendor="nvidia", name=name, found_by="device_tree")
    assert accelerators.read(root=tmp_path) == [gpu]


@pytest.mark.parametrize(("model", "compatible", "_source"), OTHERS)
def test_accelerators_when_the_board_alone_is_known_then_are_none(
    tmp_path: Path, model: str, compatible: tuple[str, ...], _source: str
) -> None:
    tree(tmp_path, model, *compatible)
    assert accelerators.read(root=tmp_path) == []


@pytest.mark.parametrize(("model", "compatible", "_source"), ROCKCHIPS)
def test_accelerators_when_rockchips_driver_made_a_device_file_then_are_its_npu(
    tmp_path: Path, model: str, compatible: tuple[str, ...], _source: str
) -> None:
    tree(tmp_path, model, *compatible)
    driver(tmp_path, "sys/class/drm/renderD129/device", "RKNPU")
    chip = compatible[-1].removeprefix("rockchip,").upper()
    npu = Accelerator(kind="npu", vendor="rockchip", name=f"{chip} NPU", found_by="device_node")
    assert accelerators.read(root=tmp_path) == [npu]


def test_accelerators_when_the_mainline_driver_runs_a_rockchip_then_are_its_npu(tmp_path: Path) -> None:
    tree(tmp_path, "Radxa ROCK 5B", "radxa,rock-5b", "rockchip,rk3588")
    driver(tmp_path, "sys/class/accel/accel0/device", "rocket")
    assert [one.name for one in accelerators.read(root=tmp_path)] == ["RK3588 NPU"]


def test_accelerators_when_only_the_gpu_of_a_rockchip_has_a_driver_then_are_none(tmp_path: Path) -> None:
    tree(tmp_path, "Radxa ROCK 5B", "radxa,rock-5b", "rockchip,rk3588")
    driver(tmp_path, "sys/class/drm/renderD128/device", "panthor")
    assert accelerators.read(root=tmp_path) == []


@pytest.mark.parametrize("ids", [("1a6e", "089a"), ("18d1", "9302")])
def test_accelerators_when_a_coral_stick_is_plugged_in_then_show_it_before_and_after_its_firmware(
    tmp_path: Path, ids: tuple[str, str]
) -> None:
    folder = "sys/bus/usb/devices"
    write(tmp_path, {f"{folder}/2-1/idVendor": f"{ids[0]}\n", f"{folder}/2-1/idProduct": f"{ids[1]}\n"})
    write(tmp_path, {f"{folder}/usb1/idVendor": "1d6b\n", f"{folder}/usb1/idProduct": "0002\n"})
    coral = Accelerator(kind="tpu", vendor="google", name="Coral USB Accelerator", found_by="device_node")
    assert accelerators.read(root=tmp_path) == [coral]


def test_accelerators_when_corals_and_hailos_have_device_files_then_show_them(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(("dev/apex_0", "dev/apex_1", "dev/hailo0", "dev/hailo1"), ""))
    write(tmp_path, {"sys/class/hailo_chardev/hailo0/device/device": "0x2864\n"})
    named = [(one.kind, one.vendor, one.name) for one in accelerators.read(root=tmp_path)]
    edge_tpu = ("tpu", "google", "Coral Edge TPU (PCIe)")
    assert named == [edge_tpu, edge_tpu, ("npu", "hailo", "Hailo-8"), ("npu", "hailo", "Hailo")]


def test_accelerators_when_intels_have_device_files_then_show_gpu_and_npu(tmp_path: Path) -> None:
    gpu, npu = "sys/class/drm/renderD128/device", "sys/class/accel/accel0/device"
    driver(tmp_path, gpu, "i915")
    driver(tmp_path, npu, "intel_vpu")
    write(tmp_path, {f"{gpu}/vendor": "0x8086\n", f"{gpu}/device": "0x9a49\n", "dev/dri/renderD128": ""})
    write(tmp_path, {f"{npu}/vendor": "0x8086\n", f"{npu}/device": "0x7d1d\n", "dev/accel/accel0": ""})
    assert [(one.kind, one.vendor, one.name) for one in accelerators.read(root=tmp_path)] == [
        ("gpu", "intel", "PCI 8086:9a49 (i915)"),
        ("npu", "intel", "PCI 8086:7d1d (intel_vpu)"),
    ]
    assert accelerators.nodes(root=tmp_path) == ["dev/dri/renderD128", "dev/accel/accel0"]


def test_accelerators_when_a_vendors_library_answered_then_its_word_stands_above_the_kernels(tmp_path: Path) -> None:
    tree(tmp_path, "NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0000", "nvidia,tegra234")
    probed = Accelerator(kind="gpu", vendor="nvidia", name="Orin (nvgpu)", found_by="nvml")
    assert accelerators.read([probed], root=tmp_path) == [probed]


def test_accelerators_when_the_display_chip_of_a_server_has_a_render_node_then_are_none(tmp_path: Path) -> None:
    write(tmp_path, {"sys/class/drm/renderD128/device/vendor": "0x1a03\n", "dev/dri/renderD128": ""})
    assert accelerators.read(root=tmp_path) == []
