"""Artifact bytes by sha256, in a folder or an S3-compatible store, and links that are good for a while.

Bytes are hashed while they stream in and get their name only after they are whole: a half-written upload is a temporary
object that nothing names, and is taken away where it breaks off. An S3 store has no rename: there the whole object is
copied to its name by the store itself, which shows it at once or not at all.
Not here: who may read or write (the doors decide), and the rows (`artifacts`).
"""

import hashlib
import hmac
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from controller.db import new_id
from controller.errors import Forbidden, Invalid, NotFound, Unavailable
from controller.settings import BlobsAt

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

CHUNK_BYTES: Final = 1024 * 1024
LINK_LIFETIME: Final = timedelta(minutes=15)  # to begin with a download; what has begun goes on
_RANGE_BYTES: Final = 4 * CHUNK_BYTES  # asked of an S3 store at once: each request costs tens of milliseconds
_PART_BYTES: Final = 8 * CHUNK_BYTES  # of an upload; S3 takes 10,000 of them
_PARTS_AT_ONCE: Final = 2
_LEFT_BEHIND_S: Final = 86_400  # after which a part is of an upload that was killed
_CLIENT: "Final[ClientConfig]" = {"timeout": timedelta(minutes=2), "connect_timeout": timedelta(seconds=5)}
_RETRY: "Final[RetryConfig]" = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Bytes that are in the store."""

    sha256: str
    size_bytes: int
    changed_at: datetime


class BlobStore:
    """Immutable bytes named by their sha256. Thread-safe.

    Args:
        at: Where they are; a folder's URL alone is enough.
    """

    def __init__(self, at: BlobsAt | str) -> None:
        if isinstance(at, str):
            at = BlobsAt(url=at)
        parts = urlsplit(at.url)
        self._folder: Path | None = None
        self._s3: S3Store | None = None
        self._may_link = at.redirect
        self._store: LocalStore | S3Store
        if parts.scheme == "file":
            self._folder = Path(unquote(parts.path))
            self._folder.mkdir(parents=True, exist_ok=True)
            _clear_away(self._folder / "parts")
            self._store = LocalStore(self._folder)
        else:
            self._store = self._s3 = _s3(at)

    def put(self, chunks: Iterable[bytes], *, expected_sha256: str | None, max_bytes: int) -> tuple[str, int]:
        """Take bytes in, hashed on the way; gives their digest and size.

        Raises:
            Invalid: `artifact.too_large`, `artifact.digest_mismatch`; nothing is kept.
            Unavailable: `blobs.failed`, e.g. a full disk; nothing is kept.
        """
        digest = hashlib.sha256()
        size = 0
        broken: Exception | None = None

        def counted() -> Iterator[bytes]:
            nonlocal size, broken
            try:
                for chunk in chunks:
                    size += len(chunk)
                    if size > max_bytes:
                        raise Invalid("artifact.too_large", f"An artifact has at most {max_bytes} bytes.")
                    digest.update(chunk)
                    yield chunk
            except Exception as error:
                broken = error  # the sender's own, which is no failure of the store
                raise

        part = f"parts/{new_id()}"
        try:
            try:
                with _store_errors():
                    obstore.put(self._store, part, counted(), chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
            except BaseException:
                if broken is not None:
                    raise broken from None
                raise
            sha256 = digest.hexdigest()
            if expected_sha256 is not None and sha256 != expected_sha256:
                raise Invalid(
                    "artifact.digest_mismatch", f"The bytes have sha256 {sha256}, announced was {expected_sha256}."
                )
            with _store_errors():
                self._settle(part)
                obstore.rename(self._store, part, _key(sha256))
                self._settle(_key(sha256))
        except BaseException:
            with suppress(BaseError, OSError):  # it was never there, or stays as a part that nothing names
                obstore.delete(self._store, part)
            raise
        return sha256, size

    def put_bytes(self, data: bytes) -> tuple[str, int]:
        """Take bytes that are in memory already.

        Raises:
            Unavailable: `blobs.failed`; nothing is kept.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        with _store_errors():
            obstore.put(self._store, _key(sha256), data, use_multipart=False)
            self._settle(_key(sha256))
        return sha256, len(data)

    def read(self, sha256: str) -> bytes:
        """Give all bytes of an artifact that is known to be small."""
        return b"".join(self.stream(sha256))

    def stream(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Give the bytes `start` (inclusive) to `end` (exclusive; None: all) in chunks of at most 1 MiB.

        Raises:
            NotFound: `artifact.not_found`.
            Unavailable: `blobs.failed`.
        """
        stop = self.size(sha256) if end is None else end
        # Each range comes whole, so that a reader who is slow keeps no request to the store open.
        step = CHUNK_BYTES if self._s3 is None else _RANGE_BYTES
        for position in range(start, stop, step):
            with _store_errors(), _missing(sha256):
                data = memoryview(
                    obstore.get_range(self._store, _key(sha256), start=position, end=min(position + step, stop))
                )
            for offset in range(0, len(data), CHUNK_BYTES):
                yield bytes(data[offset : offset + CHUNK_BYTES])

    def size(self, sha256: str) -> int:
        """Give the size in bytes.

        Raises:
            NotFound: `artifact.not_found`.
            Unavailable: `blobs.failed`.
        """
        if not _SHA256.fullmatch(sha256):
            raise NotFound("artifact.not_found", "An artifact is named by the 64 hexadecimal digits of its sha256.")
        with _store_errors(), _missing(sha256):
            return int(obstore.head(self._store, _key(sha256))["size"])

    def exists(self, sha256: str) -> bool:
        """Tell whether the bytes are there."""
        try:
            self.size(sha256)
        except NotFound:
            return False
        return True

    def link(self, sha256: str) -> str | None:
        """Give a link to the bytes in the store that needs no login for 15 minutes; None: they go through here."""
        if self._s3 is None or not self._may_link:
            return None
        with _store_errors():
            return obstore.sign(self._s3, "GET", _key(sha256), LINK_LIFETIME)

    def forget(self, sha256: str) -> None:
        """Delete bytes that no row names any more; those that are not there are no failure.

        Raises:
            Unavailable: `blobs.failed`.
        """
        if _SHA256.fullmatch(sha256):
            with _store_errors(), suppress(FileNotFoundError):
                obstore.delete(self._store, _key(sha256))

    def every(self) -> Iterator[Blob]:
        """Give all that is in the store, also what no row names; in no order.

        Raises:
            Unavailable: `blobs.failed`.
        """
        with _store_errors():
            for found in obstore.list(self._store, "sha256"):
                for one in found:
                    name = one["path"].rpartition("/")[2]
                    if _SHA256.fullmatch(name):
                        yield Blob(sha256=name, size_bytes=int(one["size"]), changed_at=one["last_modified"])

    def local_path(self, sha256: str) -> Path | None:
        """Give the file, where the store is a folder."""
        return None if self._folder is None else self._folder / _key(sha256)

    def _settle(self, key: str) -> None:
        """Have a folder's file and its name on the disk: a row must not name what a power cut takes."""
        if self._folder is not None:
            path = self._folder / key
            for one in (path, path.parent):
                descriptor = os.open(one, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


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
    """Name the store's own failures."""
    try:
        yield
    except (BaseError, OSError) as error:
        said = str(error).partition("\n")[0][:500]  # the rest is for whoever programs the store's client
        raise Unavailable("blobs.failed", f"The blob store failed: {said}") from error


@contextmanager
def _missing(sha256: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("artifact.not_found", f"There is no artifact {sha256}.") from error


def _s3(at: BlobsAt) -> S3Store:
    """Make the client of an S3-compatible store; nothing is asked of it yet.

    Raises:
        Invalid: `settings.invalid`.
    """
    parts = urlsplit(at.url)
    config: S3Config = {"region": at.region or "us-east-1", "virtual_hosted_style_request": False}
    if at.endpoint:
        config["endpoint"] = at.endpoint
    if at.access_key_id:
        config["access_key_id"] = at.access_key_id
        config["secret_access_key"] = at.secret_access_key
    client: ClientConfig = {**_CLIENT, "allow_http": at.allow_http}
    if at.ca_pem:
        client["root_certificate"] = at.ca_pem
    try:
        return S3Store(
            parts.netloc,
            prefix=unquote(parts.path).strip("/") or None,
            config=config,
            client_options=client,
            retry_config=_RETRY,
        )
    except (BaseError, ValueError) as error:
        said = str(error).partition("\n")[0][:300]
        raise Invalid("settings.invalid", f"The S3 store cannot be used as it is set: {said}") from error


def _clear_away(folder: Path) -> None:
    """Remove the parts of uploads that were killed long ago; on S3 a rule of the bucket does so."""
    if folder.is_dir():
        for path in folder.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                    path.unlink()


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"
