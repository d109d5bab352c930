"""The toolchain: a Python of its own for the converters that do not fit beside the rest of Shoal.

It is made from a pinned file, once for each state of that file and each Python, in the user's cache. A folder counts
only when its marker is there, which is written last: what a killed installation left is no toolchain, and is cleared
away by the next. Not here: who may start what in it (`controller.jobs.sandbox`).
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

COMMAND: Final = "shoal toolchain install"
NEEDED_BYTES: Final = 6 * 2**30  # 3.1 GiB in the end, and as much again of what pip unpacks and keeps meanwhile
_OVERRIDE: Final = "SHOAL_CONVERTER_PYTHON"
_MARKER: Final = "installed"
_COLLECTED: Final = re.compile(r"^Collecting ([A-Za-z0-9._-]+)")
_FETCH_SHARE: Final = 0.6  # of an installation's time, the rest is unpacking
_LOOK_S: Final = 0.5
_LAST_LINES: Final = 12

Progress = Callable[[float, str], None]


class ToolchainError(Exception):
    """The toolchain cannot be made or removed.

    Attributes:
        code: `toolchain.unavailable` (no pinned file here), `toolchain.no_space`, `toolchain.in_progress`,
            `toolchain.not_installed`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def pins() -> Path:
    """Give the pinned file, part of the controller's package.

    Raises:
        ToolchainError: `toolchain.unavailable`.
    """
    found = find_spec("controller")
    for folder in found.submodule_search_locations or [] if found is not None else []:
        path = Path(folder) / "compression/toolchain.txt"
        if path.is_file():
            return path
    message = "The toolchain belongs to the controller, which is not installed here: pip install 'shoal[controller]'."
    raise ToolchainError("toolchain.unavailable", message)


def requirements() -> list[str]:
    """Give the lines of the pinned file."""
    lines = (line.partition("#")[0].strip() for line in pins().read_text().splitlines())
    return [line for line in lines if line]


def location() -> Path:
    """Give the folder of the toolchain that belongs to the pinned file and this Python, there or not."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(pins().read_bytes() + version.encode()).hexdigest()
    return _cache() / digest[:16]


def override() -> Path | None:
    """Give the Python that SHOAL_CONVERTER_PYTHON names instead of the toolchain's, if it does."""
    named = os.environ.get(_OVERRIDE, "")
    return Path(named).expanduser() if named else None


def python() -> Path | None:
    """Give the converters' Python; None where the toolchain is not installed."""
    path = override()
    if path is not None:
        return path if os.access(path, os.X_OK) else None
    folder = location()
    return _interpreter(folder) if (folder / _MARKER).is_file() else None


def missing() -> str:
    """Say what to do where `python` gives None."""
    path = override()
    if path is not None:
        return f"{_OVERRIDE} names {path}, which is no program."
    return f"The converters' toolchain is not installed on this machine: {COMMAND}."


def size_bytes(folder: Path) -> int:
    """Give what a folder takes."""
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in found)


def install(progress: Progress) -> Path:
    """Make the toolchain, and give its Python; where it is already there, nothing is done.

    Args:
        progress: Told how far it is (0..1) and what is done now.

    Raises:
        ToolchainError: `toolchain.unavailable`, `toolchain.no_space`, `toolchain.in_progress`,
            `toolchain.not_installed`.
    """
    folder, wanted = location(), requirements()
    _cache().mkdir(parents=True, exist_ok=True)
    with _lock():
        if not (folder / _MARKER).is_file():
            _check_space()
            shutil.rmtree(folder, ignore_errors=True)
            try:
                progress(0.0, "Making a Python environment.")
                venv.create(folder, with_pip=True)
                _fill(folder, wanted, progress)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / _MARKER).write_text("\n".join(wanted) + "\n")
    progress(1.0, "Installed.")
    return _interpreter(folder)


def remove() -> int:
    """Remove the toolchain and those of older pinned files; gives the bytes that came free.

    Raises:
        ToolchainError: `toolchain.in_progress`.
    """
    if not _cache().is_dir():
        return 0
    freed = 0
    with _lock():
        for folder in _cache().iterdir():
            if folder.is_dir():
                freed += size_bytes(folder)
                (folder / _MARKER).unlink(missing_ok=True)  # first: half a toolchain is none
                shutil.rmtree(folder)
    return freed


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "shoal/toolchain"


def _interpreter(folder: Path) -> Path:
    return folder / "bin/python"


@contextmanager
def _lock() -> Iterator[None]:
    with (_cache() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = "Another process installs or removes the toolchain now; wait for it."
            raise ToolchainError("toolchain.in_progress", message) from error
        yield


def _check_space() -> None:
    free = shutil.disk_usage(_cache()).free
    if free < NEEDED_BYTES:
        message = f"The toolchain needs {NEEDED_BYTES / 2**30:.0f} GiB at {_cache()}; {free / 2**30:.1f} GiB are free."
        raise ToolchainError("toolchain.no_space", message)


def _fill(folder: Path, wanted: list[str], progress: Progress) -> None:
    """Let pip install what is pinned, and tell how far it is: first by what it collects, then by what lies there."""
    said = folder / "pip.log"
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command = [str(_interpreter(folder)), "-m", "pip", "install", *options, "-r", str(pins())]
    with said.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        while True:
            try:
                status = process.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                progress(*_how_far(folder, said, len(wanted)))
            else:
                break
    finally:
        process.kill()
        process.wait()
    if status != 0:
        lines = [line for line in said.read_text(errors="replace").splitlines() if not line.startswith("WARNING")]
        last = "\n".join(lines[-_LAST_LINES:])
        is_full = "No space left on device" in last
        code = "toolchain.no_space" if is_full else "toolchain.not_installed"
        raise ToolchainError(code, f"pip could not install the toolchain: {last}")


def _how_far(folder: Path, said: Path, count: int) -> tuple[float, str]:
    text = said.read_text(errors="replace")
    collected = [match.group(1) for line in text.splitlines() if (match := _COLLECTED.match(line))]
    if "Installing collected packages" not in text:
        share = _FETCH_SHARE * min(1.0, len(set(collected)) / max(1, count))
        return share, f"Fetching {collected[-1]}." if collected else "Asking what there is."
    there = sum(1 for _ in folder.glob("lib/python*/site-packages/*.dist-info"))
    return _FETCH_SHARE + (1 - _FETCH_SHARE) * min(0.99, there / max(1, count)), f"Unpacking, {there} of {count}."
