"""What counts as the same hardware."""

from typing import Any

import pytest

from controller.devices.hardware_class import class_of

PI5: dict[str, Any] = {
    "board": "Raspberry Pi 5 Model B Rev 1.0",
    "machine": "aarch64",
    "cpu_model": "Cortex-A76",
    "cpu_cores": 4,
    "isa": ["dotprod", "neon"],
    "memory_bytes": int(7.76 * 2**30),
    "accelerators": [],
}
HAILO = {"kind": "npu", "vendor": "hailo", "name": "Hailo-8L", "found_by": "device_node"}


def test_class_when_only_names_addresses_and_what_moves_differ_then_is_the_same() -> None:
    other = {
        **PI5,
        "hostname": "elsewhere",
        "board": "Raspberry Pi 5 Model B Rev 1.1",
        "ip_addresses": ["10.0.0.9"],
        "isa": ["neon", "dotprod"],
        "memory_bytes": int(7.8 * 2**30),
        "disk_free_bytes": 7,
        "hardware_id": "f" * 64,
    }
    assert class_of(other) == class_of(PI5)
    assert class_of(PI5).words == "Raspberry Pi 5 Model B, Cortex-A76, 4 cores, 8 GiB"


@pytest.mark.parametrize(
    "difference",
    [
        {"board": "Raspberry Pi 4 Model B Rev 1.4"},
        {"machine": "armv7l"},
        {"cpu_model": "Cortex-A72"},
        {"cpu_cores": 2},
        {"isa": ["neon"]},
        {"memory_bytes": 4 * 2**30},
        {"accelerators": [HAILO]},
        {"runtime_options": {"openvino.device": "NPU"}},
    ],
)
def test_class_when_hardware_differs_then_is_another(difference: dict[str, Any]) -> None:
    assert class_of({**PI5, **difference}).digest != class_of(PI5).digest


def test_class_when_accelerators_come_in_another_order_then_is_the_same() -> None:
    coral = {"kind": "tpu", "vendor": "google", "name": "Edge TPU"}
    one, other = ({**PI5, "accelerators": order} for order in ([HAILO, coral], [coral, HAILO]))
    assert class_of(one) == class_of(other)
    assert class_of(one).words.endswith("8 GiB, Hailo-8L, Edge TPU")


def test_class_when_nothing_is_known_then_says_so() -> None:
    assert class_of({}).words == "unknown hardware"
    assert len(class_of({}).digest) == 12
