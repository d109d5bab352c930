"""The runtimes by name: which files each runs, and which are installed on this machine, told without importing any."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

# A model's file is one artifact; an `openvino` file is a stored zip of `model.xml` and `model.bin`.
FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "onnxruntime": ("onnx",),
    "openvino": ("openvino", "onnx"),
    "litert": ("tflite",),
    "armnn": ("tflite",),
    "torchscript": ("torchscript", "ptl"),
    "executorch": ("pte",),
    "edgeimpulse": ("eim",),
}
_DISTRIBUTIONS: Final = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai-edge-litert",
    "torchscript": "torch",
    "executorch": "executorch",
}
_EVERY_RUNTIME: Final = ("numpy", "safetensors")  # what no back end does without
_NEEDED: Final = {"executorch": "torch"}  # its binding imports it
_EIM_PROTOCOL: Final = "1"
_EIM_MACHINES: Final = ("x86_64", "aarch64")
# Debian's packages serve the system's Python alone (armnn_runtime.py).
_SYSTEM_PACKAGES: Final = "/usr/lib/python3/dist-packages"
_ARMNN_PARSER: Final = "*/libarmnnTfLiteParser.so*"


def available_runtimes() -> dict[str, str]:
    """Give the installed runtimes with their versions, in the order of their names."""
    if any(_version(distribution) is None for distribution in _EVERY_RUNTIME):
        return {}
    found = {
        name: _version(distribution)
        for name, distribution in _DISTRIBUTIONS.items()
        if name not in _NEEDED or _version(_NEEDED[name]) is not None
    }
    found["armnn"] = _armnn_version()
    if platform.system() == "Linux" and platform.machine() in _EIM_MACHINES:
        found["edgeimpulse"] = _EIM_PROTOCOL
    return {name: version for name, version in sorted(found.items()) if version is not None}


def _version(distribution: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return None


def _armnn_version() -> str | None:
    if not Path("/usr/bin/python3").exists() or not any(Path("/usr/lib").glob(_ARMNN_PARSER)):
        return None
    here = metadata.distributions(name="pyarmnn", path=[_SYSTEM_PACKAGES])
    return next((one.version for one in here), None)
