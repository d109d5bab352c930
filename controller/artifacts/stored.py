"""Artifacts: the rows that name bytes, and the bytes, of which only the wanted pieces are read.

An artifact that nobody names is forgotten after a while (`controller.collection`).
"""

import io
from typing import BinaryIO, Final, cast

from sqlalchemy.orm import Session

from controller.artifacts.tables import ArtifactRow
from controller.artifacts.tensor_file import Read
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.errors import Invalid, NotFound

_BUFFER_BYTES: Final = 64 * 1024


def record_artifact(session: Session, sha256: str, size_bytes: int, created_by: str) -> ArtifactRow:
    """Name bytes that are in the blob store; the same bytes again are the same row, whose grace begins anew."""
    now = utc_now()
    row = session.get(ArtifactRow, sha256, with_for_update=True)
    if row is None:
        row = ArtifactRow(sha256=sha256, size_bytes=size_bytes, created_at=now, created_by=created_by, renewed_at=now)
        session.add(row)
    else:
        row.renewed_at = now
    session.flush()
    return row


def get_artifact(session: Session, sha256: str) -> ArtifactRow:
    """Give an artifact.

    Raises:
        NotFound: `artifact.not_found`.
    """
    row = session.get(ArtifactRow, sha256)
    if row is None:
        raise NotFound("artifact.not_found", f"There is no artifact {sha256[:64]}; upload it first.")
    return row


def reader(blobs: BlobStore, row: ArtifactRow, *, most: int) -> Read:
    """Give what reads an artifact's bytes from a place up to another.

    Raises:
        Invalid: `artifact.too_large`.
    """
    _require_size(row, most)
    return lambda start, end: b"".join(blobs.stream(row.sha256, start, end))


def open_blob(blobs: BlobStore, row: ArtifactRow, *, most: int) -> BinaryIO:
    """Open an artifact for reading here and there.

    Raises:
        Invalid: `artifact.too_large`.
    """
    _require_size(row, most)
    return cast(BinaryIO, io.BufferedReader(_Pieces(blobs, row.sha256, row.size_bytes), _BUFFER_BYTES))


def _require_size(row: ArtifactRow, most: int) -> None:
    if row.size_bytes > most:
        raise Invalid("artifact.too_large", f"This may have at most {most} bytes; it has {row.size_bytes}.")


class _Pieces(io.RawIOBase):
    def __init__(self, blobs: BlobStore, sha256: str, size: int) -> None:
        super().__init__()
        self._blobs = blobs
        self._sha256 = sha256
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = b"".join(self._blobs.stream(self._sha256, self._position, end))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
