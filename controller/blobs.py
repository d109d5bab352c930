"""Artifact bytes by sha256, in a folder or an S3-compatible store, and links that are good for a while.

Bytes are hashed while they stream in and get their name only after they are whole: a half-written upload is a temporary
object that nothing names. Not here: who may read or write (the doors decide), and the rows (`artifacts`).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from controller.db import new_id
from controller.errors import Forbidden, Invalid, NotFound, Unavailable

CHUNK_BYTES: Final = 1024 * 1024
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class BlobStore:
    """Immutable bytes named by their sha256."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._folder: Path | None = None
        self._store: ObjectStore
        if parts.scheme == "file":
            self._folder = Path(unquote(parts.path))
            self._folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self._folder)
        else:
            self._store = from_url(url)

    def put(self, chunks: Iterable[bytes], *, expected_sha256: str | None, max_bytes: int) -> tuple[str, int]:
        """Take bytes in, hashed on the way; gives their digest and size.

        Raises:
            Invalid: `artifact.too_large`, `artifact.digest_mismatch`; nothing is kept.
            Unavailable: `blobs.failed`, e.g. a full disk; nothing is kept.
        """
        digest = hashlib.sha256()
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise Invalid("artifact.too_large", f"An artifact has at most {max_bytes} bytes.")
                digest.update(chunk)
                yield chunk

        part = f"parts/{new_id()}"
        try:
            with _store_errors():
                writer = obstore.open_writer(self._store, part)
            try:
                for chunk in counted():
                    with _store_errors():
                        writer.write(chunk)
            finally:
                with _store_errors():
                    writer.close()
            sha256 = digest.hexdigest()
            if expected_sha256 is not None and sha256 != expected_sha256:
                raise Invalid(
                    "artifact.digest_mismatch", f"The bytes have sha256 {sha256}, announced was {expected_sha256}."
                )
            with _store_errors():
                obstore.rename(self._store, part, _key(sha256))
        except BaseException:
            self._forget(part)
            raise
        return sha256, size

    def put_bytes(self, data: bytes) -> tuple[str, int]:
        """Take bytes that are in memory already."""
        return self.put([data], expected_sha256=None, max_bytes=len(data))

    def read(self, sha256: str) -> bytes:
        """Give all bytes of an artifact that is known to be small."""
        return b"".join(self.stream(sha256))

    def stream(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Give the bytes `start` (inclusive) to `end` (exclusive; None: all) in chunks of at most 1 MiB.

        Raises:
            NotFound: `artifact.not_found`.
        """
        stop = self.size(sha256) if end is None else end
        for position in range(start, stop, CHUNK_BYTES):
            yield bytes(
                obstore.get_range(self._store, _key(sha256), start=position, end=min(position + CHUNK_BYTES, stop))
            )

    def size(self, sha256: str) -> int:
        """Give the size in bytes.

        Raises:
            NotFound: `artifact.not_found`.
        """
        if not _SHA256.fullmatch(sha256):
            raise NotFound("artifact.not_found", "An artifact is named by the 64 hexadecimal digits of its sha256.")
        try:
            return int(obstore.head(self._store, _key(sha256))["size"])
        except (NotFoundError, FileNotFoundError) as error:
            raise NotFound("artifact.not_found", f"There is no artifact {sha256}.") from error

    def exists(self, sha256: str) -> bool:
        """Tell whether the bytes are there."""
        try:
            self.size(sha256)
        except NotFound:
            return False
        return True

    def local_path(self, sha256: str) -> Path | None:
        """Give the file, where the store is a folder."""
        return None if self._folder is None else self._folder / _key(sha256)

    def _forget(self, key: str) -> None:
        try:
            obstore.delete(self._store, key)
        except (BaseError, OSError):
            return  # it was never there, or stays as a part that nothing names


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read an HTTP `Range` (RFC 9110, section 14); gives start and end (exclusive), None where all shall be sent.

    Raises:
        Invalid: `range.not_satisfiable`.

    >>> byte_range("bytes=2-", 10), byte_range("bytes=0-3", 10), byte_range("bytes=-3", 10), byte_range(None, 10)
    ((2, 10), (0, 4), (7, 10), None)
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found.group(1, 2) == ("", ""):
        return None  # section 14.2: what is not understood, or has several ranges, is ignored
    first, last = found.group(1, 2)
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return None
    if start >= size:
        raise Invalid("range.not_satisfiable", f"The artifact has {size} bytes.", size=size)
    return start, end


class UrlSigner:
    """Makes links that need no login, good until a moment (HMAC-SHA256 over path and expiry)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, path: str, expires_at: datetime) -> str:
        """Give the query that opens `path` until `expires_at`."""
        expires = int(expires_at.timestamp())
        return f"expires={expires}&signature={self._signature(path, expires)}"

    def check(self, path: str, *, expires: int, signature: str, now: datetime) -> None:
        """Check a link.

        Raises:
            Forbidden: `url.invalid`, `url.expired`.
        """
        if not hmac.compare_digest(self._signature(path, expires), signature):
            raise Forbidden("url.invalid", "The link's signature is wrong.")
        if now.timestamp() > expires:
            raise Forbidden("url.expired", "The link has expired; ask for a new one.")

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


@contextmanager
def _store_errors() -> Iterator[None]:
    """Name the store's own failures; the sender's pass through as they are."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise Unavailable("blobs.failed", f"The blob store did not take the bytes: {error}") from error


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"
