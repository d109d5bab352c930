"""Inference back ends, one file per runtime, used by the device's trial and serving processes and by the cloud.

May import numpy, safetensors, msgspec, `shoal.wire`; each runtime's library only in its own file. Invariants: which
runtimes are here is told without importing any; a model that cannot be loaded is a named `BadModel`; a model has one
float32 input `input` [batch, ...] and one output `output` [batch, classes].
"""

from importlib import import_module, metadata
from typing import Final

from shoal.runtimes.model import BadModel, Runtime

_DISTRIBUTIONS: Final = {"onnxruntime": "onnxruntime", "openvino": "openvino"}


def available_runtimes() -> dict[str, str]:
    """Give the installed runtimes with their versions; imports none of them."""
    found: dict[str, str] = {}
    for name, distribution in _DISTRIBUTIONS.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return found


def load_runtime(name: str) -> Runtime:
    """Import a runtime.

    Raises:
        BadModel: `runtime.missing`.
    """
    if name not in available_runtimes():
        raise BadModel("runtime.missing", f"The runtime {name[:40]!r} is not installed here.")
    runtime: Runtime = import_module(f"shoal.runtimes.{name}_runtime").RUNTIME
    return runtime
