"""What tells a machine apart after its system was installed anew. The trees are as the kernel documents them
(Documentation/ABI/testing/sysfs-class-net, sysfs-firmware-dmi-tables, devicetree/base)."""

import hashlib
from pathlib import Path

import pytest

from agent.hardware.digest import hardware_id
from agent.settings import Settings
from tests.machines import write

UUID = "4c4c4544-0051-3610-8052-b4c04f4e4d32"
SERIAL = "/7Q6RNM2/CNWS20087U00C7/"
MAC = "dc:a6:32:01:02:03"
OTHER_MAC = "e4:5f:01:0a:0b:0c"


def interface(
    root: Path, name: str, address: str, *, bus: str = "pci", assigned: str = "0", others: dict[str, str] | None = None
) -> None:
    folder = f"sys/devices/{bus}/{name}"
    write(root, {f"{folder}/net/{name}/address": f"{address}\n", f"{folder}/net/{name}/addr_assign_type": assigned})
    write(root, {f"{folder}/net/{name}/{path}": text for path, text in (others or {}).items()})
    (root / f"sys/bus/{bus}").mkdir(parents=True, exist_ok=True)
    (root / folder / "subsystem").symlink_to(root / f"sys/bus/{bus}")
    (root / folder / f"net/{name}/device").symlink_to("../..")
    (root / "sys/class/net").mkdir(parents=True, exist_ok=True)
    (root / f"sys/class/net/{name}").symlink_to(root / folder / f"net/{name}")


def virtual(root: Path, name: str, address: str) -> None:
    write(root, {f"sys/devices/virtual/net/{name}/address": f"{address}\n"})
    (root / "sys/class/net").mkdir(parents=True, exist_ok=True)
    (root / f"sys/class/net/{name}").symlink_to(root / f"sys/devices/virtual/net/{name}")


def digest(*ids: str, instance: str = "") -> str:
    return hashlib.sha256("\n".join(["shoal", *ids, f"instance {instance}"]).encode()).hexdigest()


def found(root: Path, **settings: str) -> str | None:
    return hardware_id(Settings(**settings), root=root)  # type: ignore[arg-type]


def test_hardware_when_the_firmware_has_ids_then_they_count_and_the_system_does_not(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sys/class/dmi/id/product_uuid": f"{UUID}\n",
            "sys/class/dmi/id/board_serial": f"{SERIAL}\n",
            "etc/machine-id": "first",
        },
    )
    interface(tmp_path, "eth0", MAC)
    before = found(tmp_path)
    assert before == digest(f"product_uuid {UUID}", f"board_serial {SERIAL.lower()}")
    write(tmp_path, {"etc/machine-id": "second"})
    assert found(tmp_path) == before


def test_hardware_when_only_systemd_may_read_the_firmware_then_comes_to_the_same_digest(tmp_path: Path) -> None:
    ids = {"product_uuid": UUID.upper(), "board_serial": SERIAL}
    write(tmp_path / "as-root/sys/class/dmi/id", ids)
    write(tmp_path / "credentials", ids)
    as_service = found(tmp_path / "as-service", credentials=str(tmp_path / "credentials"))
    assert as_service == found(tmp_path / "as-root")
    assert as_service is not None


@pytest.mark.parametrize(
    "placeholder",
    [
        "To be filled by O.E.M.",
        "Not Specified",
        "Default string",
        "None",
        "System Serial Number",
        "0123456789",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "...............",
        " ",
        "",
    ],
)
def test_hardware_when_the_maker_left_an_id_unfilled_then_looks_further(tmp_path: Path, placeholder: str) -> None:
    write(tmp_path, {f"sys/class/dmi/id/{name}": f"{placeholder}\n" for name in ("product_uuid", "board_serial")})
    interface(tmp_path, "eth0", MAC)
    assert found(tmp_path) == digest(f"address {MAC}")


@pytest.mark.parametrize("folder", ["proc/device-tree", "sys/firmware/devicetree/base"])
def test_hardware_when_a_device_tree_has_a_serial_number_then_it_counts(tmp_path: Path, folder: str) -> None:
    write(tmp_path, {f"{folder}/serial-number": "100000003d1b2c4f\0"})
    interface(tmp_path, "eth0", MAC)
    assert found(tmp_path) == digest("serial-number 100000003d1b2c4f")


def test_hardware_when_only_interfaces_tell_then_physical_ones_count_in_any_order(tmp_path: Path) -> None:
    interface(tmp_path, "a0", OTHER_MAC)
    interface(tmp_path, "b0", MAC)
    interface(tmp_path, "c0", "00:00:00:00:00:00")
    virtual(tmp_path, "docker0", "02:42:9e:00:00:01")
    assert found(tmp_path) == digest(f"address {MAC}", f"address {OTHER_MAC}")


def test_hardware_when_a_shown_address_is_not_the_permanent_one_then_asks_for_that(tmp_path: Path) -> None:
    interface(tmp_path, "eth0", "02:00:00:00:00:07", assigned="1")
    interface(tmp_path, "wlan0", "da:a1:19:00:00:01", assigned="3", others={"phy80211/macaddress": MAC})
    interface(tmp_path, "eth1", MAC, assigned="3", others={"bonding_slave/perm_hwaddr": OTHER_MAC})
    assert found(tmp_path) == digest(f"address {MAC}", f"address {OTHER_MAC}")


def test_hardware_when_an_adapter_is_plugged_in_then_is_the_same_machine(tmp_path: Path) -> None:
    interface(tmp_path, "eth0", MAC)
    before = found(tmp_path)
    interface(tmp_path, "usb0", OTHER_MAC, bus="usb")
    assert found(tmp_path) == before


def test_hardware_when_all_adapters_are_plugged_in_then_they_count(tmp_path: Path) -> None:
    interface(tmp_path, "usb0", OTHER_MAC, bus="usb")
    assert found(tmp_path) == digest(f"address {OTHER_MAC}")


def test_hardware_when_nothing_else_tells_then_the_machine_id_does(tmp_path: Path) -> None:
    virtual(tmp_path, "lo", "00:00:00:00:00:00")
    write(tmp_path, {"var/lib/dbus/machine-id": "2f1c0a\n", "etc/machine-id": "uninitialized\n"})
    assert found(tmp_path) == digest("machine-id 2f1c0a")


def test_hardware_when_nothing_tells_then_is_absent(tmp_path: Path) -> None:
    assert found(tmp_path, instance="b") is None


def test_hardware_when_several_agents_run_on_one_machine_then_their_instances_tell_them_apart(tmp_path: Path) -> None:
    write(tmp_path, {"etc/machine-id": "2f1c0a"})
    assert found(tmp_path, instance="b") == digest("machine-id 2f1c0a", instance="b")
    assert found(tmp_path, instance="b") != found(tmp_path)
