"""A short child process that asks vendors' libraries what is there: `python -m agent.hardware.probe`, JSON on stdout.

They load tens of megabytes, start drivers and may crash: none of that is to be the agent's. The answers are kept until
the device files, the installed OpenVINO or the boot change.
"""

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

import msgspec

from agent.hardware import nvml
from agent.hardware.files import printable
from shoal.wire.devices import Accelerator

_MAX_NAME: Final = 96  # signs
_KINDS: Final = (("GPU", "gpu"), ("NPU", "npu"), ("MYRIAD", "vpu"), ("HDDL", "vpu"))


def main() -> int:
    """Print what is there."""
    found = nvml.gpus()
    if find_spec("openvino") is not None:
        found += _openvino_devices()
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return 0


def _openvino_devices() -> list[Accelerator]:
    import openvino

    core = openvino.Core()
    return named((name, _property(core, name, "FULL_DEVICE_NAME")) for name in core.available_devices)


def named(devices: Iterable[tuple[str, str]]) -> list[Accelerator]:
    """Give OpenVINO's devices beside the CPU.

    Args:
        devices: OpenVINO's short name, such as `GPU.1`, and the full one, empty if it does not tell.

    >>> [(one.kind, one.name) for one in named([("CPU", "Intel N100"), ("NPU", "Intel(R) AI Boost")])]
    [('npu', 'Intel(R) AI Boost')]
    """
    found = []
    for short, full in devices:
        kind = next((kind for beginning, kind in _KINDS if short.startswith(beginning)), None)
        if kind is not None:
            name = printable(full)[:_MAX_NAME] or short
            found.append(Accelerator(kind=kind, vendor="intel", name=name, found_by="openvino"))
    return found


def _property(core: object, device: str, name: str) -> str:
    try:
        return str(core.get_property(device, name))  # type: ignore[attr-defined]
    except RuntimeError:  # the plug-in does not know it
        return ""


if __name__ == "__main__":
    sys.exit(main())
