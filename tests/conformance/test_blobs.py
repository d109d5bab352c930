"""One suite for every blob store: a folder, and a real S3 server. Whole bytes by digest, or nothing."""

import hashlib
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from controller.blobs import BlobStore
from controller.errors import Invalid, NotFound, Unavailable
from controller.settings import BlobsAt
from tests import objectstore
from tests.objectstore import BUCKET, ObjectStore
from tests.rig import wait_for

SMALL = b"sixteen bytes.. " * 3
HALF = """
import json, sys, threading
from controller.blobs import BlobStore
from controller.settings import BlobsAt

def chunks():
    yield bytes(18_000_000)
    print("half", flush=True)
    threading.Event().wait()

BlobStore(BlobsAt(**json.loads(sys.argv[1]))).put(chunks(), expected_sha256=sys.argv[2], max_bytes=2**30)
"""
LARGE = secrets.token_bytes(1024 * 1024) * 21 + b"end"  # several parts of an upload


@dataclass
class House:
    """A store, and where what it holds can be looked at."""

    at: BlobsAt
    folders: list[Path]

    def __post_init__(self) -> None:
        self.blobs = BlobStore(self.at)

    def held(self) -> list[str]:
        """Give every file, also those that no name leads to, such as the parts of an upload."""
        return sorted(path.name for folder in self.folders for path in folder.rglob("*") if path.is_file())


def in_folder(folder: Path) -> House:
    return House(BlobsAt(url=(folder / "a folder").as_uri()), [folder])


def in_store(store: ObjectStore, state: Path) -> House:
    prefix = f"{state.name}-{secrets.token_hex(4)}"
    at = store.settings(state, prefix=prefix).blobs_at()
    return House(at, [store.folder / BUCKET / prefix, store.unfinished()])


@pytest.fixture(params=["folder", "s3"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    if request.param == "folder":
        return in_folder(tmp_path)
    return in_store(request.getfixturevalue("object_store"), tmp_path)


@pytest.fixture(params=["folder", "s3"])
def lone_house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """One with a server of its own, which is still busy with what a killed sender left: no other test sees that."""
    if request.param == "folder":
        yield in_folder(tmp_path)
        return
    with objectstore.serve(tmp_path / "objects") as store:
        yield in_store(store, tmp_path)


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_pieces(data: bytes, size: int = 300_000) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("data", [b"", b"x", SMALL, LARGE], ids=["empty", "one byte", "small", "large"])
def test_put_when_whole_then_reads_back_by_its_digest_alone(house: House, data: bytes) -> None:
    assert house.blobs.put(in_pieces(data), expected_sha256=sha256_of(data), max_bytes=len(data)) == (
        sha256_of(data),
        len(data),
    )
    assert (house.blobs.read(sha256_of(data)), house.blobs.size(sha256_of(data))) == (data, len(data))
    assert house.held() == [sha256_of(data)]


def test_put_bytes_when_given_then_is_the_same_as_a_stream(house: House) -> None:
    assert house.blobs.put_bytes(LARGE) == house.blobs.put(in_pieces(LARGE), expected_sha256=None, max_bytes=2**30)
    assert house.held() == [sha256_of(LARGE)]


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (0, len(LARGE)), (5_000_000, 12_345_678), (len(LARGE) - 1, None), (len(LARGE), None)]
)
def test_stream_when_a_range_is_wanted_then_gives_exactly_that_in_bounded_chunks(
    house: House, start: int, end: int | None
) -> None:
    sha256, _ = house.blobs.put_bytes(LARGE)
    chunks = list(house.blobs.stream(sha256, start, end))
    assert b"".join(chunks) == LARGE[start:end]
    assert max(map(len, chunks), default=0) <= 1024 * 1024


@pytest.mark.parametrize("size", [0, 1000, 20_000_000])
def test_put_when_the_sender_breaks_off_then_nothing_is_left_and_the_senders_error_is_told(
    house: House, size: int
) -> None:
    def broken() -> Iterator[bytes]:
        yield from in_pieces(bytes(size))
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        house.blobs.put(broken(), expected_sha256=None, max_bytes=2**30)
    assert house.held() == []


@pytest.mark.parametrize("size", [1000, 20_000_000])
def test_put_when_the_digest_differs_then_nothing_is_left(house: House, size: int) -> None:
    with pytest.raises(Invalid) as caught:
        house.blobs.put(in_pieces(bytes(size)), expected_sha256="0" * 64, max_bytes=2**30)
    assert (caught.value.code, house.held()) == ("artifact.digest_mismatch", [])


def test_put_when_endless_then_is_cut_off_and_nothing_is_left(house: House) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    with pytest.raises(Invalid) as caught:
        house.blobs.put(endless(), expected_sha256=None, max_bytes=20_000_000)
    assert (caught.value.code, house.held()) == ("artifact.too_large", [])


def test_put_when_half_sent_then_no_name_leads_to_it_yet(house: House) -> None:
    is_half, goes_on = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield from in_pieces(LARGE[:18_000_000])
        is_half.set()
        assert goes_on.wait(30)
        yield from in_pieces(LARGE[18_000_000:])

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(house.blobs.put, slow(), expected_sha256=sha256_of(LARGE), max_bytes=2**30)
        assert is_half.wait(30)
        seen = (house.blobs.exists(sha256_of(LARGE)), list(house.blobs.every()))
        goes_on.set()
        assert sent.result() == (sha256_of(LARGE), len(LARGE))
    assert seen == (False, [])
    assert house.blobs.exists(sha256_of(LARGE))


def test_put_when_several_send_the_same_then_there_is_one_whole_object(house: House) -> None:
    def send(_: int) -> tuple[str, int]:
        return house.blobs.put(in_pieces(LARGE), expected_sha256=None, max_bytes=2**30)

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(send, range(3))) == {(sha256_of(LARGE), len(LARGE))}
    assert (house.held(), house.blobs.read(sha256_of(LARGE)) == LARGE) == ([sha256_of(LARGE)], True)


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", "", "A" * 64])
def test_anything_when_unknown_or_no_digest_then_is_not_found(house: House, name: str) -> None:
    with pytest.raises(NotFound):
        house.blobs.read(name)
    with pytest.raises(NotFound):
        house.blobs.size(name)
    with pytest.raises(NotFound):
        list(house.blobs.stream(name))
    assert not house.blobs.exists(name)
    house.blobs.forget(name)


def test_forget_when_there_then_only_that_goes(house: House) -> None:
    kept, _ = house.blobs.put_bytes(b"kept")
    gone, _ = house.blobs.put_bytes(b"gone")
    house.blobs.forget(gone)
    house.blobs.forget(gone)
    assert (house.blobs.exists(gone), house.blobs.read(kept), house.held()) == (False, b"kept", [kept])


def test_every_when_several_are_there_then_names_each_with_its_size(house: House) -> None:
    given = {house.blobs.put_bytes(bytes(size))[0]: size for size in range(30)}
    assert {blob.sha256: blob.size_bytes for blob in house.blobs.every()} == given


def test_stream_when_it_is_deleted_meanwhile_then_is_not_found_and_never_other_bytes(house: House) -> None:
    sha256, _ = house.blobs.put_bytes(LARGE)
    chunks = house.blobs.stream(sha256)
    first = next(chunks)
    house.blobs.forget(sha256)
    with pytest.raises(NotFound):
        list(chunks)
    assert first == LARGE[: len(first)]


def test_put_when_its_process_is_killed_then_no_name_leads_to_what_came(lone_house: House) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, json.dumps(asdict(lone_house.at)), sha256_of(LARGE)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == b"half\n"
        process.kill()
        process.wait()
    assert list(lone_house.blobs.every()) == []
    assert not lone_house.blobs.exists(sha256_of(LARGE))


def test_link_when_in_a_folder_then_there_is_none(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    assert blobs.link(blobs.put_bytes(SMALL)[0]) is None


def test_link_when_in_a_store_then_gives_this_object_for_a_while_to_whoever_has_it(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = BlobStore(object_store.settings(tmp_path, prefix=tmp_path.name).blobs_at())
    sha256, other = blobs.put_bytes(SMALL)[0], blobs.put_bytes(b"other")[0]
    link = blobs.link(sha256)
    assert link is not None
    answer = httpx.get(link, headers={"Range": "bytes=3-"})
    assert (answer.status_code, answer.content) == (206, SMALL[3:])
    for changed in (link.replace(sha256, other), link.replace("Expires=900", "Expires=9000"), link.partition("?")[0]):
        assert httpx.get(changed).status_code == 403
    monkeypatch.setattr("controller.blobs.LINK_LIFETIME", timedelta(seconds=1))
    short = blobs.link(sha256)
    assert short is not None
    assert httpx.get(short).status_code == 200
    wait_for(lambda: httpx.get(short).status_code == 403)


def test_link_when_redirects_are_off_then_there_is_none(object_store: ObjectStore, tmp_path: Path) -> None:
    blobs = BlobStore(object_store.settings(tmp_path, prefix=tmp_path.name, blobs_redirect=False).blobs_at())
    assert blobs.link(blobs.put_bytes(SMALL)[0]) is None


def test_store_when_it_cannot_be_reached_then_says_so_by_name_and_without_its_key(tmp_path: Path) -> None:
    at = BlobsAt(
        url="s3://bucket/prefix",
        endpoint="http://127.0.0.1:9",
        access_key_id="the-key",
        secret_access_key="the-secret",
        allow_http=True,
    )
    blobs = BlobStore(at)
    for act in (lambda: blobs.put_bytes(b"x"), lambda: blobs.size("0" * 64), lambda: list(blobs.every())):
        with pytest.raises(Unavailable) as caught:
            act()
        assert caught.value.code == "blobs.failed"
        assert "the-secret" not in f"{caught.value.message} {at!r}"


def test_store_when_its_key_is_wrong_then_says_so_by_name(object_store: ObjectStore, tmp_path: Path) -> None:
    settings = object_store.settings(tmp_path)
    at = BlobsAt(
        url=settings.blobs_url,
        endpoint=object_store.endpoint,
        access_key_id="shoal-test",
        secret_access_key="wrong",
        allow_http=True,
    )
    with pytest.raises(Unavailable, match="403"):
        BlobStore(at).put_bytes(b"x")
