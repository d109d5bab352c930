"""Whatever comes through the devices' doors is taken or refused by name, and counted: never an unexpected error."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from controller import server
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.devices import enrollment
from controller.gateway import http as device_door
from controller.gateway import router
from controller.gateway.access import Inbound
from controller.gateway.telemetry import TelemetryDoor
from controller.keys import Keys
from controller.observe import RefusalRow
from controller.settings import Settings
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import envelope, signing, topics
from shoal.wire.devices import EnrollRequest
from tests.databases import make_tables
from tests.rows import add_device

DEVICE = "d-abcdefghijklmno2"
KEY = Ed25519PrivateKey.generate()
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
STAMP: dict[str, Any] = {"id": "1-1", "session": 1, "sequence": 1}
# A good body of each kind that goes up: what is put into it comes further than what is made up.
GOOD: dict[str, dict[str, Any]] = {
    "birth": {**STAMP, "instance": "i", "boot_id": "b", "agent_version": "0"},
    "will": {"session": 1},
    "facts": {
        **STAMP,
        "facts": {
            "hostname": "h",
            "machine": "m",
            "system": "s",
            "python": "3",
            "agent_version": "0",
            "runtimes": {},
            "can_train": True,
        },
    },
    "reported": {**STAMP, "epoch": 1, "version": 1, "slots": []},
    "receipt": {
        **STAMP,
        "boot_id": "b",
        "model": "m",
        "version": 1,
        "variant_id": "v",
        "slot": "a",
        "runtime": "r",
        "runtime_version": "1",
        "sha256": "0" * 64,
        "golden": {"samples": 1, "agreement": 1.0, "max_abs_error": 0.0, "passed": True},
        "latency_p50_ms": 1.0,
    },
    "execution_report": {**STAMP, "execution_id": "e", "attempt": 1, "state": "succeeded", "result": {}},
    "evidence": {
        **STAMP,
        "policy_id": "p",
        "model": "m",
        "version": 1,
        "samples": 1,
        "population_stability_index": 1.0,
        "drift_detected": True,
        "noticed_at": "",
    },
    "telemetry": {**STAMP, "begin": time.time(), "offsets": [0.0, 1.0], "series": {"cpu.ratio": [0.5, None]}},
}
BIG = st.sampled_from([0, -1, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, 1e308, "\0", "x" * 300, "\ud800"])


@dataclass(frozen=True, kw_only=True)
class House:
    database: Database
    blobs: BlobStore
    telemetry: TelemetryDoor
    door: httpx.Client
    token: str

    def counted(self) -> int:
        with self.database.reading() as session:
            return int(session.scalar(select(func.coalesce(func.sum(RefusalRow.count), 0))) or 0)

    def take(self, topic: str, payload: bytes) -> int:
        """Let the router take a message; gives how many refusals were counted for it."""
        before = self.counted()
        with self.database.transaction() as session:
            router.take(session, [Inbound(topic, payload)], self.blobs, self.telemetry, utc_now())
        return self.counted() - before

    def enroll(self, body: bytes) -> tuple[int, int]:
        """Ask the door; gives its status, and how many refusals were counted."""
        before = self.counted()
        answer = self.door.post("/device/v1/enroll", content=body)
        assert answer.status_code < 400 or answer.json()["code"]
        return answer.status_code, self.counted() - before


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    state = tmp_path_factory.mktemp("house")
    configured, keys = Settings(state=state), Keys.open(state)
    database = Database(configured.resolved_database_url())
    blobs = BlobStore(configured.blobs_at())
    make_tables(database)
    with database.transaction() as session:
        add_device(session, DEVICE, public_key=signing.raw_public_key(KEY.public_key()))
        wanted = EnrollmentTokenRequest(max_uses=10_000)
        _, token = enrollment.create_token(session, wanted, ca_digest=keys.ca_digest, actor="test")
    parts = device_door.Parts(settings=configured, database=database, keys=keys, blobs=blobs)
    listening, stop = server.listen("127.0.0.1", 0), threading.Event()
    serving = threading.Thread(target=server.serving(listening, device_door.create_door(parts)), args=(stop,))
    serving.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as door:
        yield House(database=database, blobs=blobs, telemetry=TelemetryDoor(configured), door=door, token=token)
    stop.set()
    serving.join()
    listening.close()
    database.close()


CHANNELS = st.sampled_from(sorted(topics.UP_CHANNELS))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | CHANNELS.map(lambda channel: topics.up(DEVICE, channel)), st.binary(max_size=300))
def test_any_payload_when_on_any_topic_then_is_refused_and_counted(house: House, topic: str, payload: bytes) -> None:
    assert house.take(topic, payload) == 1


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_good_message_when_one_field_is_anything_then_is_taken_or_refused_and_counted(
    house: House, kind: str, data: st.DataObject
) -> None:
    """An enrolled device that means ill: it signs whatever it wants."""
    field = data.draw(st.sampled_from(sorted(GOOD[kind])))
    body = json.dumps({**GOOD[kind], field: data.draw(ANY_JSON | BIG), "kind": kind})
    topic = topics.up(DEVICE, data.draw(CHANNELS))
    assert house.take(topic, envelope.seal_text(kind, body, topic=topic, key=KEY)) in (0, 1)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_when_sent_to_enrol_then_is_refused_and_counted(house: House, body: bytes) -> None:
    assert house.enroll(body) == (422, 1)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["token", "csr", "facts"]), ANY_JSON | BIG)
def test_good_enrolment_when_one_field_is_anything_then_is_refused_and_counted(
    house: House, field: str, value: Any
) -> None:
    csr = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    good = {"token": house.token, "csr": csr, "facts": GOOD["facts"]["facts"]}
    status, counted = house.enroll(json.dumps({**good, field: value}).encode())
    assert (status in (403, 409, 422), counted) == (True, 1)


@pytest.mark.parametrize("body", [b'{"token":' + b"[" * 60_000, b'{"more":' + b'{"a":' * 12_000])
def test_brackets_when_ten_thousand_deep_then_the_enrolment_is_refused(house: House, body: bytes) -> None:
    """The attack: what no parser survives."""
    assert house.enroll(body) == (422, 1)


def test_enrolment_when_well_formed_then_only_its_csr_is_wrong(house: House) -> None:
    """The good parts of the tests above are good."""
    facts = msgspec.convert(GOOD["facts"]["facts"], EnrollRequest.__annotations__["facts"])
    request = EnrollRequest(token=house.token, csr="no csr", facts=facts)
    answer = house.door.post("/device/v1/enroll", content=msgspec.json.encode(request))
    assert (answer.status_code, answer.json()["code"]) == (422, "csr.invalid")
