"""Artifacts on the device: whatever a controller sends, and wherever it breaks off, only the named bytes get a name."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from agent.artifacts import ArtifactStore
from agent.door import Door
from agent.errors import AgentError
from agent.identity import Identity
from shoal.wire.devices import ArtifactRef

DATA = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(DATA).hexdigest()
REF = ArtifactRef(sha256=SHA256, size_bytes=len(DATA))


class Blobs:
    """A controller's door that can send anything.

    Attributes:
        data: What it sends, from the byte on that is asked for.
        most: After how many bytes of an answer it breaks off.
        asked: The `Range` of each request.
    """

    def __init__(self) -> None:
        self.data = DATA
        self.most = len(DATA) * 2
        self.asked: list[str] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        blobs = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers["Range"]
                blobs.asked.append(asked)
                blobs.goes_on.wait(10)
                rest = blobs.data[int(asked.removeprefix("bytes=").removesuffix("-")) :]
                self.send_response(206)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                self.wfile.write(rest[: blobs.most])
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def blobs() -> Iterator[Blobs]:
    blobs = Blobs()
    thread = threading.Thread(target=blobs.server.serve_forever, args=(0.01,))
    thread.start()
    yield blobs
    blobs.server.shutdown()
    thread.join()
    blobs.server.server_close()


@pytest.fixture
def door(blobs: Blobs, identity: Identity) -> Door:
    identity.enrolled = msgspec.structs.replace(identity.known(), controller_url=blobs.url)
    return Door(identity)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def left(store: ArtifactStore) -> list[str]:
    return sorted(path.name for path in store.path(SHA256).parent.iterdir())


def test_artifact_when_fetched_then_is_kept_and_not_asked_for_again(
    store: ArtifactStore, door: Door, blobs: Blobs
) -> None:
    shares: list[float] = []
    path = store.fetch(REF, door, shares.append)
    assert path.read_bytes() == DATA
    assert store.fetch(REF, door, shares.append) == path
    assert blobs.asked == ["bytes=0-"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_download_when_broken_off_then_goes_on_where_it_was(store: ArtifactStore, door: Door, blobs: Blobs) -> None:
    blobs.most = 700_000
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, door, lambda _: None)
    assert caught.value.code == "controller.unreachable"
    have = (store.path(SHA256).parent / f"{SHA256}.part").stat().st_size
    assert 0 < have <= 700_000
    assert store.fetch(REF, door, lambda _: None).read_bytes() == DATA
    assert blobs.asked == ["bytes=0-", f"bytes={have}-"]


def test_artifact_when_it_came_then_its_bytes_and_seconds_are_told(tmp_path: Path, door: Door, blobs: Blobs) -> None:
    told: list[tuple[int, float]] = []
    store = ArtifactStore(tmp_path / "artifacts", on_fetched=lambda count, seconds: told.append((count, seconds)))
    blobs.most = 700_000
    with pytest.raises(AgentError):
        store.fetch(REF, door, lambda _: None)
    assert told == []
    have = store.path(SHA256).with_suffix(".part").stat().st_size
    store.fetch(REF, door, lambda _: None)
    store.fetch(REF, door, lambda _: None)
    ((count, seconds),) = told
    assert count == len(DATA) - have
    assert seconds > 0


@pytest.mark.parametrize("half", [b"\0" * 1000, b"\0" * len(DATA), b"\0" * (len(DATA) + 1)])
def test_download_when_what_lies_there_is_damaged_then_is_fetched_anew(
    store: ArtifactStore, door: Door, half: bytes
) -> None:
    (store.path(SHA256).parent / f"{SHA256}.part").write_bytes(half)
    assert store.fetch(REF, door, lambda _: None).read_bytes() == DATA
    assert left(store) == [SHA256]


def test_artifact_when_its_digest_is_another_then_is_refused_for_good_and_dropped(
    store: ArtifactStore, door: Door, blobs: Blobs
) -> None:
    blobs.data = DATA[:-1] + b"x"
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, door, lambda _: None)
    assert (caught.value.code, caught.value.is_final) == ("artifact.digest_mismatch", True)
    assert left(store) == []


def test_artifact_when_larger_than_announced_then_is_cut_off_and_dropped(
    store: ArtifactStore, door: Door, blobs: Blobs
) -> None:
    blobs.data = DATA + b"x"
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, door, lambda _: None)
    assert caught.value.code == "artifact.too_large"
    assert left(store) == []


def test_artifact_when_the_disk_has_no_room_then_nothing_is_asked_for(
    store: ArtifactStore, door: Door, blobs: Blobs
) -> None:
    with pytest.raises(AgentError) as caught:
        store.fetch(ArtifactRef(sha256=SHA256, size_bytes=2**53), door, lambda _: None)
    assert caught.value.code == "artifact.no_space"
    assert blobs.asked == []


def test_artifact_when_two_want_it_at_once_then_is_fetched_once(store: ArtifactStore, door: Door, blobs: Blobs) -> None:
    blobs.goes_on.clear()
    found: list[bytes] = []

    def fetch() -> None:
        found.append(store.fetch(REF, door, lambda _: None).read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    blobs.goes_on.set()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 4
    assert blobs.asked == ["bytes=0-"]


def test_artifacts_when_nothing_names_them_then_are_dropped(store: ArtifactStore, door: Door) -> None:
    store.fetch(REF, door, lambda _: None)
    (store.path(SHA256).parent / f"{'0' * 64}.part").write_bytes(b"half")
    store.forget_unnamed({SHA256})
    assert left(store) == [SHA256]
    store.forget_unnamed(())
    assert left(store) == []
