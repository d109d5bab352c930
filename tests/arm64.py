"""A Debian for 64-bit Arm, run on this machine by QEMU's user-mode emulation: correct, and no measure of speed.

`sudo python -m tests.arm64` makes its root folder (about five minutes, 300 MB, kept in the user's cache) with
`debootstrap` and the wheels that the agent's facts need. Programs see the host's kernel and `/proc`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Final

INSTALL: Final = (
    "needs root, and once: apt-get install qemu-user-static binfmt-support debootstrap && python -m tests.arm64"
)
_EMULATOR: Final = "qemu-aarch64-static"
_SUITE: Final = "bookworm"
_PLATFORMS: Final = ("manylinux2014_aarch64", "manylinux_2_28_aarch64")
_WHEELS: Final = ("msgspec", "psutil")
_CODE: Final = "opt/shoal"
_REPOSITORY: Final = Path(__file__).parent.parent


def root_folder() -> Path:
    """Give where the root folder is, or would be."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "shoal" / "arm64"


def is_there() -> bool:
    """Tell whether programs can be run in it; `INSTALL` says what is needed."""
    programs = all(shutil.which(name) for name in (_EMULATOR, "unshare"))
    return programs and os.geteuid() == 0 and (root_folder() / _CODE / "msgspec").is_dir()


def run_python(program: str, *, timeout_s: float = 120) -> str:
    """Run a program with the agent and the wire of this working tree; gives what it prints.

    The emulator is started by its path, so nothing needs to be registered; `/proc` is mounted in a namespace that ends
    with the program.
    """
    root = root_folder()
    for name in ("agent", "shoal/wire"):
        shutil.copytree(_REPOSITORY / name, root / _CODE / name, dirs_exist_ok=True)
    shutil.copy(_REPOSITORY / "shoal/__init__.py", root / _CODE / "shoal")
    info = root / _CODE / f"shoal-{metadata.version('shoal')}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: shoal\nVersion: {metadata.version('shoal')}\n")
    emulator = root / "usr/bin" / _EMULATOR
    if not emulator.exists():
        shutil.copy(str(shutil.which(_EMULATOR)), emulator)
    inner = (
        f"mount --bind /proc {root}/proc && "
        f'exec chroot {root} /usr/bin/{_EMULATOR} -E PYTHONPATH=/{_CODE} /usr/bin/python3 -c "$0"'
    )
    command = ["unshare", "--mount", "sh", "-c", inner, program]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s).stdout


def make() -> None:
    """Make the root folder."""
    root = root_folder()
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shoal-arm64-", dir=root.parent) as folder:
        draft = Path(folder) / "root"
        handlers = Path("/proc/sys/fs/binfmt_misc")
        if not (handlers / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(handlers)], check=True)
        subprocess.run(["update-binfmts", "--enable", "qemu-aarch64"], check=True)
        debootstrap = ["debootstrap", "--arch=arm64", "--variant=minbase", "--include=python3", _SUITE, str(draft)]
        subprocess.run(debootstrap, check=True)
        wheels = Path(folder) / "wheels"
        platforms = [f"--platform={platform}" for platform in _PLATFORMS]
        wanted = [f"{name}=={metadata.version(name)}" for name in _WHEELS]
        options = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", f"--dest={wheels}"]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, *platforms, *wanted], check=True)
        for wheel in wheels.iterdir():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(draft / _CODE)
        draft.replace(root)


if __name__ == "__main__":
    make()
