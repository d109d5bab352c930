"""Deletes the data that the device learns from, so that a kill half-way leaves something that is found again."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import AgentError

_HEADER: Final = "dataset.json"
_SHARDS: Final = "*.safetensors"


def forget_datasets(data: Path) -> int:
    """Delete every local data set; gives the bytes. Blocking.

    Whatever else lies in the folder stays: an operator may have named one that holds more. A link is deleted, not
    what it points to.

    Raises:
        AgentError: `data.not_deletable`.
    """
    freed = 0
    for folder in list(_datasets(data)):
        try:
            if folder.is_symlink():
                folder.unlink()
                continue
            for path in list(folder.iterdir()):
                if path.name != _HEADER:
                    freed += _delete(path)
            header = folder / _HEADER
            if header.exists():
                freed += _delete(header)  # last: what has it is known as a data set
            folder.rmdir()
        except OSError as error:
            message = f"{error.filename or folder} cannot be deleted: {error.strerror}."
            raise AgentError("data.not_deletable", message) from error
    return freed


def size_bytes(folder: Path) -> int:
    """Give what the files below a folder hold."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            found += _size(Path(place) / name)
    return found


def _datasets(data: Path) -> Iterator[Path]:
    try:
        children = sorted(data.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise AgentError("data.not_deletable", f"{data} cannot be read: {error.strerror}.") from error
    for child in children:
        if child.is_dir() and ((child / _HEADER).exists() or any(child.glob(_SHARDS))):
            yield child


def _delete(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        freed = size_bytes(path)
        shutil.rmtree(path)
    else:
        freed = _size(path)
        path.unlink(missing_ok=True)
    return freed


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
