"""The agent's side of the devices' door, on the real door: HTTPS with the pinned CA, signed requests, real blobs, and
links into a real object store.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import select

from agent import door as agent_door
from agent import facts
from agent.artifacts import ArtifactStore
from agent.door import Door
from agent.errors import AgentError
from agent.identity import Identity
from agent.settings import Settings as AgentSettings
from controller.blobs import BlobStore
from controller.db import Database
from controller.devices import enrollment
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.gateway import http as device_door
from controller.keys import Keys
from controller.server import listen
from controller.settings import Settings
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire.devices import ArtifactRef
from tests.databases import make_tables
from tests.objectstore import Between, ObjectStore

DATA = os.urandom(2_499_999) + b"\1"  # more than the door and the device move at once
SHA256 = hashlib.sha256(DATA).hexdigest()
REF = ArtifactRef(sha256=SHA256, size_bytes=len(DATA))


class Controller:
    """The devices' door over HTTPS on a free port, and what is behind it."""

    def __init__(self, state: Path, settings: Settings | None = None) -> None:
        self.keys = Keys.open(state)
        settings = settings or Settings(state=state, max_upload_bytes=4_000_000)
        self.database = Database(settings.resolved_database_url())
        make_tables(self.database)
        self.blobs = BlobStore(settings.blobs_at())
        parts = device_door.Parts(settings=settings, database=self.database, keys=self.keys, blobs=self.blobs)
        certificate, key = self.keys.issue_server_certificate(["127.0.0.1"])
        self._socket = listen("127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                device_door.create_door(parts),
                log_config=None,
                lifespan="off",
                ssl_certfile=certificate,
                ssl_keyfile=key,
                headers=[("Connection", "close")],  # a TLS client that stays would keep the server from ending
            )
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def close_door(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def close(self) -> None:
        self.close_door()
        self.database.close()

    def token(self) -> str:
        with self.database.transaction() as session:
            request = EnrollmentTokenRequest()
            _, token = enrollment.create_token(session, request, ca_digest=self.keys.ca_digest, actor="test")
        return token

    def devices(self) -> list[str]:
        with self.database.reading() as session:
            return list(session.scalars(select(DeviceRow.id)))

    def suspend(self, device_id: str) -> None:
        with self.database.transaction() as session:
            row = session.get(DeviceRow, device_id)
            assert row is not None
            row.state = DeviceState.SUSPENDED

    def put_under(self, sha256: str, data: bytes) -> None:
        """Let the store hold other bytes under a digest, as a damaged or an evil one would."""
        path = self.blobs.local_path(sha256)
        assert path is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    controller = Controller(tmp_path / "controller")
    yield controller
    controller.close()


@pytest.fixture
def between(object_store: ObjectStore) -> Iterator[Between]:
    with Between(object_store) as between:
        yield between


@pytest.fixture
def on_s3(between: Between, object_store: ObjectStore, tmp_path: Path) -> Iterator[Controller]:
    settings = object_store.settings(tmp_path / "controller", prefix=tmp_path.name, blobs_endpoint=between.endpoint)
    controller = Controller(tmp_path / "controller", settings)
    controller.blobs.put_bytes(DATA)
    yield controller
    controller.close()


@pytest.fixture
def s3_door(on_s3: Controller, tmp_path: Path) -> Door:
    identity = Identity.open(tmp_path / "device")
    enroll(identity, on_s3.url, on_s3.token())
    return Door(identity)


@pytest.fixture
def identity(controller: Controller, tmp_path: Path) -> Identity:
    identity = Identity.open(tmp_path / "device")
    enroll(identity, controller.url, controller.token())
    return identity


@pytest.fixture
def door(identity: Identity) -> Door:
    return Door(identity)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def enroll(identity: Identity, url: str, token: str) -> None:
    told = facts.read_facts(AgentSettings(state=identity.ca_path().parent), "")
    agent_door.enroll(identity, controller_url=url, token=token, facts=told)


def part_of(store: ArtifactStore) -> Path:
    return store.path(SHA256).with_suffix(".part")


def left(store: ArtifactStore) -> list[str]:
    return sorted(path.name for path in store.path(SHA256).parent.iterdir())


def nobody(_share: float) -> None:
    """Is told nothing."""


def test_device_when_it_enrolls_twice_with_one_key_then_is_the_same_device(
    controller: Controller, tmp_path: Path
) -> None:
    token = controller.token()
    identity = Identity.open(tmp_path / "device")
    enroll(identity, controller.url, token)
    first = identity.device_id
    enroll(identity, controller.url, token)
    assert controller.devices() == [first] == [identity.device_id]
    assert Identity.open(tmp_path / "device").known() == identity.known()


def test_device_when_the_door_has_another_ca_than_the_token_then_sends_nothing_and_stays_unenrolled(
    controller: Controller, tmp_path: Path
) -> None:
    secret = controller.token().partition(".")[0]
    identity = Identity.open(tmp_path / "device")
    with pytest.raises(AgentError) as caught:
        enroll(identity, controller.url, f"{secret}.{'0' * 64}")
    assert (caught.value.code, caught.value.is_final) == ("ca.not_pinned", True)
    assert identity.enrolled is None
    assert controller.devices() == []


def test_artifact_when_fetched_then_is_whole_and_needs_the_door_no_more(
    controller: Controller, store: ArtifactStore, door: Door
) -> None:
    controller.blobs.put_bytes(DATA)
    shares: list[float] = []
    path = store.fetch(REF, door, shares.append)
    assert path.read_bytes() == DATA
    assert shares == sorted(shares)
    assert (len(shares) > 2, shares[-1]) == (True, 1.0)
    controller.close_door()
    assert store.fetch(REF, door, nobody) == path
    assert left(store) == [SHA256]


def test_artifact_when_a_part_is_there_then_only_the_rest_is_fetched(
    controller: Controller, store: ArtifactStore, door: Door
) -> None:
    # The store's first half is spoiled: were it asked for, the digest would be another.
    controller.put_under(SHA256, b"\0" * 1_500_000 + DATA[1_500_000:])
    part_of(store).write_bytes(DATA[:1_500_000])
    shares: list[float] = []
    assert store.fetch(REF, door, shares.append).read_bytes() == DATA
    assert shares[0] > 1_500_000 / len(DATA)
    assert left(store) == [SHA256]


def test_artifact_when_all_of_it_is_there_already_then_the_door_is_not_asked(
    controller: Controller, store: ArtifactStore, door: Door
) -> None:
    part_of(store).write_bytes(DATA)
    controller.close_door()
    assert store.fetch(REF, door, nobody).read_bytes() == DATA


def test_artifact_when_its_bytes_are_others_then_is_refused_for_good_and_dropped(
    controller: Controller, store: ArtifactStore, door: Door
) -> None:
    controller.put_under(SHA256, DATA[:-1] + b"\0")
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, door, nobody)
    assert (caught.value.code, caught.value.is_final) == ("artifact.digest_mismatch", True)
    assert left(store) == []


def test_artifact_when_larger_than_announced_then_is_refused_and_dropped(
    controller: Controller, store: ArtifactStore, door: Door
) -> None:
    controller.put_under(SHA256, DATA + b"more")
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, door, nobody)
    assert caught.value.code == "artifact.too_large"
    assert left(store) == []


def test_artifact_when_the_door_is_closed_then_what_is_there_stays_for_the_next_time(
    controller: Controller, store: ArtifactStore, door: Door
) -> None:
    part_of(store).write_bytes(DATA[:1000])
    controller.close_door()
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, door, nobody)
    assert (caught.value.code, caught.value.is_final) == ("controller.unreachable", False)
    assert part_of(store).read_bytes() == DATA[:1000]


def test_artifact_when_the_controller_has_none_then_its_refusal_is_told_and_nothing_is_kept(
    store: ArtifactStore, door: Door
) -> None:
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, door, nobody)
    assert caught.value.code == "artifact.not_found"
    assert left(store) == []


def test_update_when_sent_twice_then_is_kept_once_and_another_digest_is_refused(
    controller: Controller, door: Door, tmp_path: Path
) -> None:
    update = tmp_path / "update"
    update.write_bytes(DATA)
    for _ in range(2):
        door.upload(update, SHA256)
    assert controller.blobs.read(SHA256) == DATA
    with pytest.raises(AgentError) as caught:
        door.upload(update, "0" * 64)
    assert (caught.value.code, caught.value.is_final) == ("artifact.digest_mismatch", True)
    assert not controller.blobs.exists("0" * 64)


def test_device_when_suspended_then_gets_and_gives_nothing(
    controller: Controller, identity: Identity, store: ArtifactStore, door: Door, tmp_path: Path
) -> None:
    other = b"another update"
    controller.blobs.put_bytes(DATA)
    controller.suspend(identity.device_id)
    update = tmp_path / "update"
    update.write_bytes(other)
    for ask in (
        lambda: store.fetch(REF, door, nobody),
        lambda: door.upload(update, hashlib.sha256(other).hexdigest()),
    ):
        with pytest.raises(AgentError) as caught:
            ask()
        assert (caught.value.code, caught.value.is_final) == ("device.suspended", True)
    assert not controller.blobs.exists(hashlib.sha256(other).hexdigest())


def test_artifact_when_it_is_in_an_object_store_then_the_link_is_followed_without_the_devices_signature(
    between: Between, store: ArtifactStore, s3_door: Door
) -> None:
    assert store.fetch(REF, s3_door, nobody).read_bytes() == DATA
    (shown,) = between.followed
    assert [name for name in shown if name.lower().startswith("shoal")] == []
    assert shown["Host"] == between.endpoint.removeprefix("http://")


def test_artifact_when_the_object_store_breaks_off_then_a_new_link_gives_the_rest(
    between: Between, store: ArtifactStore, s3_door: Door
) -> None:
    between.most = 1_000_000
    with pytest.raises(AgentError) as caught:
        store.fetch(REF, s3_door, nobody)
    assert (caught.value.code, caught.value.is_final) == ("controller.unreachable", False)
    have = part_of(store).stat().st_size
    between.most = len(DATA)
    assert store.fetch(REF, s3_door, nobody).read_bytes() == DATA
    assert [shown["Range"] for shown in between.followed] == ["bytes=0-", f"bytes={have}-"]
    assert have > 0


@pytest.mark.parametrize("status", [403, 404, 301, 500])
def test_artifact_when_a_link_has_expired_or_leads_nowhere_then_the_controller_gives_the_bytes(
    between: Between, store: ArtifactStore, s3_door: Door, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    between.status = status
    part_of(store).write_bytes(DATA[:1000])
    assert store.fetch(REF, s3_door, nobody).read_bytes() == DATA
    assert len(between.followed) == 1
    assert f"answers {status} to a link" in caplog.text
    assert "X-Amz" not in caplog.text


def test_artifact_when_redirects_are_off_then_the_bytes_come_from_the_controller(
    between: Between, object_store: ObjectStore, store: ArtifactStore, tmp_path: Path
) -> None:
    settings = object_store.settings(
        tmp_path / "controller", prefix=tmp_path.name, blobs_endpoint=between.endpoint, blobs_redirect=False
    )
    controller = Controller(tmp_path / "controller", settings)
    try:
        controller.blobs.put_bytes(DATA)
        identity = Identity.open(tmp_path / "device")
        enroll(identity, controller.url, controller.token())
        assert store.fetch(REF, Door(identity), nobody).read_bytes() == DATA
    finally:
        controller.close()
    assert between.followed == []


def test_update_when_sent_to_a_controller_on_an_object_store_then_is_there_by_its_digest(
    on_s3: Controller, s3_door: Door, tmp_path: Path
) -> None:
    update = tmp_path / "update"
    update.write_bytes(DATA[:2_000_000])
    sha256 = hashlib.sha256(DATA[:2_000_000]).hexdigest()
    s3_door.upload(update, sha256)
    assert on_s3.blobs.read(sha256) == DATA[:2_000_000]
