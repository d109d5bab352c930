"""Artifacts and data sets."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shoal.client.connection import Connection
from shoal.schemas.artifacts import Artifact, Dataset, DatasetRequest, SignedUrl
from shoal.schemas.common import Page

_CHUNK_BYTES: Final = 1024 * 1024


class Artifacts:
    """`/v1/artifacts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, data: bytes | Path) -> Artifact:
        """Upload bytes or a file, refused unless it arrives whole. The same bytes are one artifact."""
        with_digest = {"Content-Type": "application/octet-stream", "Shoal-Sha256": _digest(data)}
        content = data if isinstance(data, bytes) else _chunks(data)
        return self._connection.send_bytes("/artifacts", Artifact, content, with_digest)

    def url(self, sha256: str) -> SignedUrl:
        """Give a link to the bytes that needs no login, for a while."""
        return self._connection.send("POST", f"/artifacts/{sha256}/url", SignedUrl)


class Datasets:
    """`/v1/datasets`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: DatasetRequest) -> Dataset:
        """Make an uploaded artifact a data set."""
        return self._connection.send("POST", "/datasets", Dataset, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Dataset]:
        """Give a page of data sets, newest first."""
        return self._connection.page("/datasets", Dataset, limit=limit, cursor=cursor)

    def show(self, name: str) -> Dataset:
        """Show a data set by name or id."""
        return self._connection.get(f"/datasets/{name}", Dataset)


def _digest(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
