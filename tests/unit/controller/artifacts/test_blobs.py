"""Bytes by sha256: whole or not at all."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.blobs import BlobStore, UrlSigner
from controller.errors import Forbidden, Invalid, NotFound

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path.as_uri())


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_put_when_whole_then_reads_back_by_digest_and_range(blobs: BlobStore) -> None:
    data = bytes(range(256)) * 10_000
    sha256, size = blobs.put_bytes(data)
    assert (sha256, size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert blobs.read(sha256) == data
    assert b"".join(blobs.stream(sha256, 1_000_000, 2_000_001)) == data[1_000_000:2_000_001]


def test_put_when_digest_differs_then_is_refused_and_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="sha256"):
        blobs.put([b"abc"], expected_sha256="0" * 64, max_bytes=10)
    assert files_in(tmp_path) == []


def test_put_when_endless_then_is_cut_off_and_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    with pytest.raises(Invalid) as caught:
        blobs.put(endless(), expected_sha256=None, max_bytes=50_000)
    assert caught.value.code == "artifact.too_large"
    assert files_in(tmp_path) == []


def test_put_when_sender_breaks_off_then_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        blobs.put(broken(), expected_sha256=None, max_bytes=100)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", ""])
def test_read_when_unknown_or_no_digest_then_is_not_found(blobs: BlobStore, name: str) -> None:
    with pytest.raises(NotFound):
        blobs.read(name)


def test_link_when_forged_or_late_then_is_refused() -> None:
    signer = UrlSigner(b"k" * 32)
    expires_at = NOW + timedelta(minutes=5)
    expires, signature = (part.partition("=")[2] for part in signer.sign("/a", expires_at).split("&"))
    signer.check("/a", expires=int(expires), signature=signature, now=NOW)
    with pytest.raises(Forbidden, match="signature"):
        signer.check("/b", expires=int(expires), signature=signature, now=NOW)
    with pytest.raises(Forbidden, match="expired"):
        signer.check("/a", expires=int(expires), signature=signature, now=expires_at + timedelta(seconds=1))
