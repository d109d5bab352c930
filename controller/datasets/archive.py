"""Zip files that somebody uploaded, opened with care: nothing is unpacked to a disk, and no name of theirs is a path.

Runs inside the sandbox.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from controller.artifacts.dataset_file import MAX_DATASET_BYTES
from controller.artifacts.formats import ZIP_ERRORS
from controller.datasets.source import Refused

READ_BYTES: Final = 2**20
_MAX_ENTRIES: Final = 500_000
_MAX_RATIO: Final = 200  # deflate reaches 1032; samples that repeat themselves so much teach nothing
_MODEST_BYTES: Final = 64 * 2**20  # below it a ratio is no danger
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip file; all that it says of its entries is bounded, and the reader holds them to it.

    Raises:
        Refused: `dataset.malformed`, `dataset.pickled`, `dataset.too_large`, `dataset.bomb`.
    """
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        with path.open("rb") as file:
            head = file.read(2)
        if head[:1] == b"\x80":
            message = "The file is a pickle, which is code; save the arrays with numpy.savez."
            raise Refused("dataset.pickled", message) from error
        raise Refused("dataset.malformed", f"The file is no zip archive, or a damaged one: {error}.") from error
    entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        raise Refused("dataset.too_large", f"The archive has more than {_MAX_ENTRIES} entries.")
    if len({entry.filename for entry in entries}) < len(entries):
        raise Refused("dataset.malformed", "The archive has two entries of one name.")
    for entry in entries:
        if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
            message = f"{said(entry.filename)} is encrypted, or packed otherwise than with deflate."
            raise Refused("dataset.malformed", message)
    total = sum(entry.file_size for entry in entries)
    if total > MAX_DATASET_BYTES:
        raise Refused(
            "dataset.too_large", f"Unpacked it would have {total} bytes; at most {MAX_DATASET_BYTES} are taken."
        )
    if total > max(_MODEST_BYTES, _MAX_RATIO * path.stat().st_size):
        message = f"{path.stat().st_size} bytes would become {total}: more than {_MAX_RATIO} times as many."
        raise Refused("dataset.bomb", message)
    return archive


def pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Give an entry's bytes as they are unpacked.

    Raises:
        Refused: `dataset.malformed`.
    """
    with opened(archive, entry) as file:
        while piece := read(file, READ_BYTES, entry.filename):
            yield piece


def opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    """Open an entry.

    Raises:
        Refused: `dataset.malformed`.
    """
    try:
        return archive.open(entry)
    except ZIP_ERRORS as error:
        raise _damaged(entry.filename, error) from error


def read(file: IO[bytes], size: int, name: str) -> bytes:
    """Read from an entry.

    Raises:
        Refused: `dataset.malformed`: cut off, or not what its checksum says.
    """
    try:
        return file.read(size)
    except Exception as error:  # zlib, checksums, ends: whatever a damaged archive makes its reader do
        raise _damaged(name, error) from error


def said(name: str) -> str:
    """Give a name of the archive as a message may show it.

    >>> said("a" + chr(10) + "b" * 300)[:12]
    'a?bbbbbbbbbb'
    """
    return "".join(character if character.isprintable() else "?" for character in name[:200])


def _damaged(name: str, error: Exception) -> Refused:
    return Refused("dataset.malformed", f"{said(name)} is damaged: {error}.")
