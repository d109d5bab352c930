"""Inference back ends, one file per runtime, used by the device's trial and serving processes and by the cloud.

May import numpy, safetensors, msgspec, `shoal.wire`; each runtime's library only in its own file. Invariants: which
runtimes are here is told without importing any; a model that cannot be loaded is a named `BadModel`; a back end hands
over its file's own tensors, and `signature.bind` alone makes of them what the model declares.
"""

from importlib import import_module

from shoal.runtimes.model import BadModel, Runtime
from shoal.wire.runtimes import available_runtimes

__all__ = ["available_runtimes", "load_runtime", "runtime_version"]


def load_runtime(name: str) -> Runtime:
    """Import a runtime.

    Raises:
        BadModel: `runtime.missing`.
    """
    runtime_version(name)
    try:
        runtime: Runtime = import_module(f"shoal.runtimes.{name}_runtime").RUNTIME
    except ImportError as error:
        raise BadModel("runtime.missing", f"The runtime {name} is installed here but does not load: {error}") from error
    return runtime


def runtime_version(name: str) -> str:
    """Give the version of an installed runtime.

    Raises:
        BadModel: `runtime.missing`.
    """
    version = available_runtimes().get(name)
    if version is None:
        raise BadModel("runtime.missing", f"The runtime {name[:40]!r} is not installed here.")
    return version
