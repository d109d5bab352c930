"""What is found out once and kept in the state folder: micro-benchmarks, vendors' answers, the last download's rate.

Each answer stands beside the key of what it holds for; another key, or a file that does not parse, is absence. A file
is replaced whole, without forcing it onto the disk: what a power cut takes is found out again.
"""

import asyncio
import hashlib
import logging
import os
import sys
from contextlib import suppress
from importlib import metadata
from typing import Annotated, Any, Final

import msgspec

from agent.errors import AgentError
from agent.hardware import accelerators, cpu
from agent.hardware.digest import hardware_id
from agent.settings import Settings
from shoal.wire.devices import Accelerator, Measured, Rate

_log: Final = logging.getLogger(__name__)
_REVISION: Final = "1"  # of how `benchmark` measures: figures of another one are measured again
_MAX_BYTES: Final = 64 * 1024
_MEASURE_S: Final = 180.0  # at the lowest priority on a busy board; on a quiet one it takes some seconds
_PROBE_S: Final = 60.0
_LEAST_DOWNLOAD_BYTES: Final = 2**20  # of less, the rate says more about the round trip
_Accelerators = Annotated[list[Accelerator], msgspec.Meta(max_length=32)]


async def measure(settings: Settings, *, anew: bool) -> Measured:
    """Give what this machine really does, measured in a child process at the lowest priority if it is not known.

    Args:
        anew: Measure again, whatever is known.

    Raises:
        AgentError: `benchmark.failed`.
    """
    if not anew and (known := measured(settings)) is not None:
        return known
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        answer = await _ask("agent.hardware.benchmark", str(settings.state), timeout_s=_MEASURE_S)
        found = msgspec.json.decode(answer, type=Measured)
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        raise AgentError("benchmark.failed", f"The hardware could not be measured: {error or 'no time'}.") from error
    _keep(settings, "measured.json", _measured_key(settings), found)
    return found


def measured(settings: Settings) -> Measured | None:
    """Give what was measured on this hardware with these libraries."""
    known: Measured | None = _kept(settings, "measured.json", _measured_key(settings), Measured)
    return known


async def probe(settings: Settings, boot_id: str) -> list[Accelerator]:
    """Ask vendors' libraries what is there, where a device file gives them something to find; once each boot.

    Where they do not answer there is nothing to tell: the kernel's word stands.
    """
    nodes = accelerators.nodes()
    if not nodes:
        return []
    key = "\n".join([boot_id, _version("openvino"), *nodes])
    known = _kept(settings, "accelerators.json", key, _Accelerators)
    if known is not None:
        return list(known)
    try:
        answer = await _ask("agent.hardware.probe", timeout_s=_PROBE_S)
        found: list[Accelerator] = msgspec.json.decode(answer, type=_Accelerators)
    except (OSError, TimeoutError, msgspec.DecodeError) as error:
        _log.warning("what the accelerators are could not be asked: %s", error or "no answer in time")
        found = []
    _keep(settings, "accelerators.json", key, found)
    return found


def note_download(settings: Settings, size_bytes: int, seconds: float) -> None:
    """Note how fast an artifact came; small ones say nothing."""
    if size_bytes >= _LEAST_DOWNLOAD_BYTES and seconds > 0:
        _keep(settings, "download.json", "", size_bytes / seconds)


def download_bytes_per_s(settings: Settings) -> float | None:
    """Give how fast the last artifact came."""
    rate: float | None = _kept(settings, "download.json", "", Rate)
    return rate


class _Note(msgspec.Struct, frozen=True):
    key: str
    value: msgspec.Raw


def _keep(settings: Settings, name: str, key: str, value: Any) -> None:
    if not settings.state.is_dir():  # of a machine that is no device yet
        return
    body = msgspec.json.encode({"key": key, "value": value})
    path = settings.state / name
    draft = path.with_suffix(".new")
    try:
        draft.write_bytes(body)
        draft.replace(path)
    except OSError as error:  # a full disk costs the answer, not the agent; it is found out again
        _log.warning("%s cannot be kept: %s", path, error)


def _kept(settings: Settings, name: str, key: str, kind: Any) -> Any:
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        with (settings.state / name).open("rb") as file:
            note = msgspec.json.decode(file.read(_MAX_BYTES), type=_Note)
        if note.key == key:
            return msgspec.json.decode(note.value, type=kind)
    return None


def _measured_key(settings: Settings) -> str:
    """Give what the figures hold for: the machine, its processor, and with what it was measured."""
    ids = [
        _REVISION,
        hardware_id(settings) or "",
        cpu.model(os.uname().machine) or "",
        *(f"{name} {_version(name)}" for name in ("numpy", "onnxruntime")),
    ]
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _version(distribution: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return ""


async def _ask(module: str, *arguments: str, timeout_s: float) -> bytes:
    """Run a module of this package in a process of its own and give what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            answer, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise OSError(f"{module} ended with {process.returncode}")
    return answer[:_MAX_BYTES]
