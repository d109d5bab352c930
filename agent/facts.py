"""What this machine is. What cannot be read is absent, never zero or invented."""

import hashlib
import os
import platform
import shutil
import socket
import time
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil

from agent import VERSION
from agent.settings import Settings
from shoal.wire.devices import Facts

# The distributions of the files under `shoal/runtimes`; told without importing any.
_RUNTIMES: Final = {"onnxruntime": "onnxruntime", "openvino": "openvino"}


def read_facts(settings: Settings, inference_url: str) -> Facts:
    """Read what this machine is and offers."""
    settings.state.mkdir(parents=True, exist_ok=True)
    return Facts(
        hostname=socket.gethostname()[:256],
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}"[:256],
        python=platform.python_version(),
        agent_version=VERSION,
        runtimes=offered_runtimes(settings),
        can_train=find_spec("torch") is not None,
        hardware_id=_hardware_id(),
        cpu_model=_cpu_model(),
        cpu_cores=os.cpu_count(),
        memory_bytes=psutil.virtual_memory().total,
        disk_free_bytes=shutil.disk_usage(settings.state).free,
        time_zone=time.tzname[0],
        inference_url=inference_url,
    )


def offered_runtimes(settings: Settings) -> dict[str, str]:
    """Give the runtimes that are installed, narrowed by the setting, with their versions."""
    narrowed = settings.narrowed()
    found: dict[str, str] = {}
    for name, distribution in _RUNTIMES.items():
        if not narrowed or name in narrowed:
            with suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(distribution)
    return found


def boot_id() -> str:
    """Give what changes with each boot of the machine."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def _hardware_id() -> str | None:
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        with suppress(OSError):
            text = path.read_text().strip()
            # The id itself is a secret of the machine; its digest tells two machines apart just as well.
            return hashlib.sha256(b"shoal" + text.encode()).hexdigest() if text else None
    return None


def _cpu_model() -> str | None:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()[:256] or None
    return None
