"""Artifacts and data sets."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from shoal.client.connection import Connection
from shoal.schemas.artifacts import Artifact, Dataset, DatasetRequest, SignedUrl
from shoal.schemas.common import Page
from shoal.schemas.jobs import Job

_CHUNK_BYTES: Final = 1024 * 1024


class Artifacts:
    """`/v1/artifacts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, data: bytes | Path, on_sent: Callable[[int], object] | None = None) -> Artifact:
        """Upload bytes or a file, refused unless it arrives whole. The same bytes are one artifact.

        Args:
            on_sent: Told how many bytes of a file went, each time some did.
        """
        with_digest = {"Content-Type": "application/octet-stream", "Shoal-Sha256": _digest(data)}
        content = data if isinstance(data, bytes) else _chunks(data, on_sent)
        return self._connection.send_bytes("/artifacts", Artifact, content, with_digest)

    def url(self, sha256: str) -> SignedUrl:
        """Give a link to the bytes that needs no login, for a while."""
        return self._connection.send("POST", f"/artifacts/{sha256}/url", SignedUrl)


class Datasets:
    """`/v1/datasets`, `/v1/dataset-imports`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: DatasetRequest) -> Dataset:
        """Make uploaded safetensors a data set."""
        return self._connection.send("POST", "/datasets", Dataset, request, is_long=True)

    def import_(self, request: DatasetRequest) -> Job:
        """Start a job that makes an uploaded npz, Parquet or zip of images a data set."""
        return self._connection.send("POST", "/dataset-imports", Job, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Dataset]:
        """Give a page of data sets, newest first."""
        return self._connection.page("/datasets", Dataset, limit=limit, cursor=cursor)

    def show(self, name: str) -> Dataset:
        """Show a data set by name or id."""
        return self._connection.get(f"/datasets/{name}", Dataset)

    def delete(self, name: str) -> None:
        """Delete a data set that nothing depends on."""
        self._connection.delete(f"/datasets/{name}")


def _digest(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(path: Path, on_sent: Callable[[int], object] | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
            if on_sent is not None:
                on_sent(len(chunk))
