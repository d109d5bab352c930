"""Attacks on the devices' door over HTTP, as it is served: by strangers, by thieves, and by who is between."""

import contextlib
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from agent import door as agent_door
from agent import facts
from agent.door import Door
from agent.errors import AgentError
from agent.identity import Identity
from agent.settings import Settings as AgentSettings
from controller import server
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.devices import enrollment
from controller.devices.tables import CertificateRow, DeviceRow, EnrollmentTokenRow
from controller.gateway import http as device_door
from controller.keys import Keys
from controller.observe import RefusalRow
from controller.settings import Settings
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import signing
from shoal.wire.devices import EnrollAnswer, EnrollRequest, Facts, RenewRequest
from tests.databases import make_tables

NOBODY = ""


class House:
    """The devices' door on a free port, as the controller serves it, and what is behind it."""

    def __init__(self, state: Path, database: Database | None = None) -> None:
        self.settings = Settings(state=state)
        self.keys = Keys.open(state)
        self.database = database or Database(self.settings.resolved_database_url())
        make_tables(self.database)
        self.blobs = BlobStore(self.settings.blobs_at())
        parts = device_door.Parts(settings=self.settings, database=self.database, keys=self.keys, blobs=self.blobs)
        self._listening = server.listen("127.0.0.1", 0)
        self.port = int(self._listening.getsockname()[1])
        self._stop = threading.Event()
        serve = server.serving(self._listening, device_door.create_door(parts))
        self._thread = threading.Thread(target=serve, args=(self._stop,))
        self._thread.start()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/device/v1", timeout=20)

    def close(self) -> None:
        self.http.close()
        self._stop.set()
        self._thread.join()
        self._listening.close()
        self.database.close()

    def token(self, **wanted: Any) -> str:
        with self.database.transaction() as session:
            request = EnrollmentTokenRequest(**wanted)
            return enrollment.create_token(session, request, ca_digest=self.keys.ca_digest, actor="test")[1]

    def ask(self, key: Ed25519PrivateKey, token: str, **others: Any) -> httpx.Response:
        request = EnrollRequest(token=token, csr=csr_of(key), facts=told(**others))
        return self.http.post("/enroll", content=msgspec.json.encode(request))

    def enroll(self, key: Ed25519PrivateKey, **others: Any) -> str:
        answer = self.ask(key, self.token(), **others)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=EnrollAnswer).device_id

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def refusals(self) -> dict[tuple[str, str], int]:
        with self.database.reading() as session:
            return {(row.device_id, row.code): row.count for row in session.scalars(select(RefusalRow))}

    def devices(self) -> list[DeviceRow]:
        with self.database.reading() as session:
            return list(session.scalars(select(DeviceRow).order_by(DeviceRow.enrolled_at)))


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def house(tmp_path: Path, opened: ExitStack) -> House:
    house = House(tmp_path / "controller")
    opened.callback(house.close)
    return house


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door's patience, shortened: the tests are about what comes after it."""
    monkeypatch.setattr(device_door, "_SILENCE_S", 0.5)
    monkeypatch.setattr(server, "_HEADERS_S", 0.5)


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def told(**others: Any) -> Facts:
    known = {"hostname": "cam", "machine": "m", "system": "s", "python": "3.11", "agent_version": "0"}
    return Facts(**{**known, "runtimes": {}, "can_train": False, **others})


def csr_of(key: Ed25519PrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, None).public_bytes(Encoding.PEM).decode()


def signed(key: Ed25519PrivateKey, device_id: str, method: str, path: str, at: float | None = None) -> dict[str, str]:
    moment = str(int(utc_now().timestamp() if at is None else at))
    signature = signing.sign(key, f"{method} /device/v1{path} {moment}", "")
    return {"Shoal-Device": device_id, "Shoal-At": moment, "Shoal-Signature": signature}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


# Endless and slow


def head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [
        f"{method} /device/v1{path} HTTP/1.1",
        "Host: door",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def sends_on(connection: socket.socket, chunk: bytes, pause_s: float) -> bytes:
    """Send the same again and again, until the other side ends it; gives what it said."""
    connection.settimeout(pause_s)
    answer = b""
    deadline = time.monotonic() + 20
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            connection.sendall(chunk)
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
                answer += received
                if not received:
                    return answer
    assert time.monotonic() < deadline, "the connection is still open"
    return answer


ENDLESS = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/enroll", "/renew"])
def test_endless_body_when_sent_then_is_cut_off_by_name(house: House, path: str) -> None:
    """The attack: a request without an end, to fill the memory."""
    with house.connect() as connection:
        connection.sendall(head("POST", path, ENDLESS))
        answer = sends_on(connection, b"2000\r\n" + b" " * 0x2000 + b"\r\n", 0.01)
    assert (b"HTTP/1.1 413" in answer, b"request.too_large" in answer) == (True, True)
    assert house.refusals() == {(NOBODY, "request.too_large"): 1}


def test_endless_upload_when_its_length_is_announced_as_less_then_no_more_is_taken(
    house: House, key: Ed25519PrivateKey
) -> None:
    """The attack: an upload without an end, or without a length, to fill the disk."""
    device_id = house.enroll(key)
    path = f"/blobs/{'0' * 64}"
    refused = house.http.put(path, content=iter([b"x"] * 9), headers=signed(key, device_id, "PUT", path))
    assert code_of(refused) == (411, "upload.no_length")
    with house.connect() as connection:
        connection.sendall(head("PUT", path, {**signed(key, device_id, "PUT", path), "Content-Length": "9" * 15}))
        assert b"artifact.too_large" in connection.recv(65536)
    assert house.refusals() == {(device_id, "upload.no_length"): 1, (device_id, "artifact.too_large"): 1}
    assert [path for path in (house.settings.state / "blobs").rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begin", [b"", b"GET /device/v1/ca HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_endless_headers_when_one_a_moment_then_the_connection_is_closed(house: House, begin: bytes) -> None:
    """The attack (slowloris): connections that never have their headers, the second request's included."""
    with house.connect() as connection:
        connection.sendall(begin)
        sends_on(connection, b"X: y\r\n", 0.05)


@pytest.mark.usefixtures("impatient")
def test_body_when_nobody_reads_it_and_it_trickles_then_the_connection_is_closed(house: House) -> None:
    """The attack: the answer is there already, and the rest of the body comes for ever."""
    with house.connect() as connection:
        connection.sendall(head("GET", "/ca", {"Content-Length": "1000000"}))
        assert b"200 OK" in sends_on(connection, b"x", 0.05)


@pytest.mark.usefixtures("impatient")
def test_slow_senders_when_there_are_fifty_then_each_is_cut_off_and_an_enrolment_is_served(
    house: House, key: Ed25519PrivateKey
) -> None:
    """The attack: machines that send a byte a moment, wherever a body is read, to hold all of the workers."""
    thief = Ed25519PrivateKey.generate()
    device_id, announced, path = house.enroll(thief), {"Content-Length": "1000"}, f"/blobs/{'0' * 64}"
    heads = [
        head("POST", "/enroll", announced),
        head("POST", "/renew", announced),
        head("PUT", path, {**announced, **signed(thief, device_id, "PUT", path)}),
    ]
    answers: list[bytes] = []

    def slow(begin: bytes) -> None:
        with house.connect() as connection:
            connection.sendall(begin)
            answers.append(sends_on(connection, b" ", 0.1))

    senders = [threading.Thread(target=slow, args=(heads[number % 3],)) for number in range(51)]
    for sender in senders:
        sender.start()
    house.enroll(key)
    for sender in senders:
        sender.join()
    assert [b"HTTP/1.1 408" in answer and b"request.too_slow" in answer for answer in answers] == [True] * 51
    assert house.refusals() == {(NOBODY, "request.too_slow"): 34, (device_id, "request.too_slow"): 17}


# Replayed, forged, and from another time


def test_renewal_when_replayed_after_its_time_or_for_another_key_then_gives_nothing(
    house: House, key: Ed25519PrivateKey
) -> None:
    """The attack: a recorded renewal is sent again, later, elsewhere, or with the thief's own key in it."""
    device_id, now = house.enroll(key), time.time()
    own, thiefs = (msgspec.json.encode(RenewRequest(csr=csr_of(one))) for one in (key, Ed25519PrivateKey.generate()))
    fresh, old = (signed(key, device_id, "POST", "/renew", now - age) for age in (0, 301))
    other = signed(key, device_id, "POST", "/enroll")
    assert code_of(house.http.post("/renew", content=own, headers=old)) == (401, "request.clock_skew")
    assert code_of(house.http.post("/renew", content=own, headers=other)) == (401, "signature.invalid")
    assert code_of(house.http.post("/renew", content=thiefs, headers=fresh)) == (403, "renew.other_key")
    assert house.refusals() == {
        (NOBODY, "request.clock_skew"): 1,
        (NOBODY, "signature.invalid"): 1,
        (device_id, "renew.other_key"): 1,
    }
    with house.database.reading() as session:
        assert len(session.scalars(select(CertificateRow)).all()) == 1


def test_blob_signature_when_used_for_another_path_or_method_then_opens_nothing(
    house: House, key: Ed25519PrivateKey
) -> None:
    """The attack: the signature of one request is put on another, also by a forged Host or an odd path."""
    device_id = house.enroll(key)
    secret, known = f"/blobs/{house.blobs.put_bytes(b'secret')[0]}", f"/blobs/{house.blobs.put_bytes(b'known')[0]}"
    headers = signed(key, device_id, "GET", known)
    assert house.http.get(known, headers=headers).content == b"known"
    host = {"Host": f"door/device/v1{known}?"}
    refused = [
        house.http.get(secret, headers=headers),
        house.http.get(secret, headers={**headers, **host}),
        house.http.put(known, content=b"known", headers=headers),
        house.http.get(f"{known}%3Fx", headers=headers),
        house.http.get(f"{known}%23", headers=headers),
    ]
    assert [code_of(answer) for answer in refused] == [(401, "signature.invalid")] * 5
    assert house.refusals() == {(NOBODY, "signature.invalid"): 5}


@pytest.mark.parametrize("at", [0, 2_524_608_000], ids=["1970", "2050"])
def test_clock_when_wrong_by_years_then_the_request_is_refused_by_name(
    house: House, key: Ed25519PrivateKey, at: int
) -> None:
    """The attack: a request of another time; or no attack at all, but an empty battery."""
    device_id = house.enroll(key)
    path = f"/blobs/{house.blobs.put_bytes(b'data')[0]}"
    answer = house.http.get(path, headers=signed(key, device_id, "GET", path, at))
    assert code_of(answer) == (401, "request.clock_skew")
    assert house.refusals() == {(NOBODY, "request.clock_skew"): 1}


@pytest.mark.parametrize(
    "device_id", ["", "d-", "d-abcdefghijklmno2/..", "#", "+", "d-" + "a" * 10_000, "d-🐟", "d-' OR 1=1 --"]
)
def test_device_id_when_odd_in_a_header_then_is_refused_and_counted_for_nobody(
    house: House, key: Ed25519PrivateKey, device_id: str
) -> None:
    """The attack: ids with slashes, wildcards, 10 kB, emoji, to break out of a path, a query or a log."""
    path = f"/blobs/{'0' * 64}"
    headers = {name: value.encode() for name, value in signed(key, device_id, "GET", path).items()}
    with house.connect() as connection:
        lines = [b"GET /device/v1" + path.encode() + b" HTTP/1.1", b"Host: door", b"Connection: close"]
        lines += [name.encode() + b": " + value for name, value in headers.items()]
        connection.sendall(b"\r\n".join([*lines, b"", b""]))
        answer = sends_on(connection, b"", 0.5)
    assert (b"request.unsigned" in answer, answer.startswith(b"HTTP/1.1 401")) == (True, True)
    assert house.refusals() == {(NOBODY, "request.unsigned"): 1}


# Enrolment


def change_token(house: House, **values: Any) -> None:
    with house.database.transaction() as session:
        (token,) = session.scalars(select(EnrollmentTokenRow))
        for name, value in values.items():
            setattr(token, name, value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"uses": 1}, "enrollment.token_spent"),
        ({"expires_at": utc_now() - timedelta(seconds=1)}, "enrollment.token_expired"),
        ({"revoked_at": utc_now()}, "enrollment.token_revoked"),
        ({"secret_digest": "another"}, "enrollment.wrong_token"),
    ],
)
def test_enrolment_token_when_it_is_good_no_more_then_enrols_nobody(
    house: House, key: Ed25519PrivateKey, change: dict[str, Any], code: str
) -> None:
    """The attack: a token that was found somewhere is used after its time."""
    token = house.token(max_uses=1)
    change_token(house, **change)
    assert code_of(house.ask(key, token)) == (403, code)
    assert (house.devices(), house.refusals()) == ([], {(NOBODY, code): 1})


def test_enrolment_token_when_of_another_fleet_then_is_refused_without_a_look_at_its_secret(
    house: House, key: Ed25519PrivateKey
) -> None:
    """The attack: the secret of this fleet with the digest of another's CA, so that the agent trusts that one."""
    secret = house.token().partition(".")[0]
    assert code_of(house.ask(key, f"{secret}.{'0' * 64}")) == (403, "enrollment.other_fleet")
    assert (house.devices(), house.refusals()) == ([], {(NOBODY, "enrollment.other_fleet"): 1})


def test_known_key_when_it_comes_with_another_token_then_keeps_its_labels(house: House, key: Ed25519PrivateKey) -> None:
    """The attack: a device enrols again by a better token, to get that one's labels."""
    assert house.ask(key, house.token(labels={"site": "yard"})).status_code == 200
    assert code_of(house.ask(key, house.token(labels={"site": "vault"}))) == (409, "enrollment.key_known")
    assert [device.labels for device in house.devices()] == [{"site": "yard"}]
    assert house.refusals() == {(NOBODY, "enrollment.key_known"): 1}


def test_csr_when_it_wants_to_be_a_controller_then_gets_its_own_name_only(house: House, key: Ed25519PrivateKey) -> None:
    """The attack: a CSR with the controller's name, a CA's rights, and a server's addresses."""
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "controller-1")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=9), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, None)
    )
    pem = csr.public_bytes(Encoding.PEM).decode()
    request = EnrollRequest(token=house.token(), csr=pem, facts=told())
    answer = msgspec.json.decode(
        house.http.post("/enroll", content=msgspec.json.encode(request)).content, type=EnrollAnswer
    )
    certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
    given = {type(extension.value): extension.value for extension in certificate.extensions}
    assert certificate.subject.rfc4514_string() == f"CN={answer.device_id}"
    assert given[x509.BasicConstraints] == x509.BasicConstraints(ca=False, path_length=None)
    assert given[x509.ExtendedKeyUsage] == x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    assert x509.SubjectAlternativeName not in given


def test_hardware_claim_when_a_stranger_makes_it_then_it_is_pending_and_takes_nothing(
    house: House, key: Ed25519PrivateKey
) -> None:
    """The attack: a stranger with a token says that its hardware is that of a known device, to become that one."""
    victim = house.enroll(key, hardware_id="known")
    stranger = Ed25519PrivateKey.generate()
    answer = house.ask(stranger, house.token(), hardware_id="known")
    assert (answer.status_code, answer.json()["code"]) == (202, "enrollment.claims_device")
    pending = answer.json()["device_id"]
    path = f"/blobs/{house.blobs.put_bytes(b'data')[0]}"
    refused = house.http.get(path, headers=signed(stranger, pending, "GET", path))
    assert code_of(refused) == (403, "device.pending")
    before, after = house.devices()
    assert (before.id, before.state, before.public_key) == (victim, "active", raw(key))
    assert (after.id, after.state, after.claims_device_id) == (pending, "pending", victim)
    assert house.refusals() == {(pending, "device.pending"): 1}


def raw(key: Ed25519PrivateKey) -> bytes:
    return signing.raw_public_key(key.public_key())


def test_facts_when_no_database_keeps_them_then_are_refused_by_name(
    postgresql_url: str, tmp_path: Path, key: Ed25519PrivateKey, opened: ExitStack
) -> None:
    """The attack: a NUL in a text, which PostgreSQL does not take, to make the door fail."""
    database = Database(postgresql_url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    house = House(tmp_path, database)
    opened.callback(house.close)
    for others in ({"hostname": "\0"}, {"hardware_id": "\0"}):
        assert code_of(house.ask(key, house.token(), **others)) == (422, "request.not_storable")
    assert (house.devices(), house.refusals()) == ([], {(NOBODY, "request.not_storable"): 2})


# Who is between the agent and the controller


def server_tls(keys: Keys, now: datetime | None = None) -> ssl.SSLContext:
    pair = keys._new_pair("door", timedelta(days=30), now or utc_now(), ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class ManBetween:
    """Answers as a controller would, shows whatever CA it is given, and keeps what it hears."""

    def __init__(self, tls: ssl.SSLContext, shown_ca: str) -> None:
        self._shown_ca = shown_ca
        self._tls = tls
        self._listening = server.listen("127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}"
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                with accepted, contextlib.suppress(OSError), self._tls.wrap_socket(accepted, server_side=True) as talk:
                    self.heard += talk.recv(65536)
                    body = self._shown_ca.encode()
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    talk.sendall(head.encode() + body)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.mark.parametrize(("shows_its_own", "code"), [(True, "ca.not_pinned"), (False, "controller.unreachable")])
def test_man_in_the_middle_when_an_agent_enrols_then_gets_no_secret(
    tmp_path: Path, opened: ExitStack, shows_its_own: bool, code: str
) -> None:
    """The attack: who is between answers for the controller, with its own CA or with a copy of the true one."""
    true, rogue = Keys.open(tmp_path / "true"), Keys.open(tmp_path / "rogue")
    between = ManBetween(server_tls(rogue), [true, rogue][shows_its_own].ca_pem)
    opened.callback(between.close)
    device = Identity.open(tmp_path / "device")
    with pytest.raises(AgentError) as caught:
        enroll(device, between.url, f"the-secret.{true.ca_digest}")
    assert (caught.value.code, device.enrolled) == (code, None)
    assert between.heard.startswith(b"GET /device/v1/ca ")
    assert (b"the-secret" in between.heard, b"CERTIFICATE REQUEST" in between.heard) == (False, False)


def enroll(device: Identity, url: str, token: str) -> None:
    known = facts.read_facts(AgentSettings(state=device.ca_path().parent), "")
    agent_door.enroll(device, controller_url=url, token=token, facts=known)


@pytest.mark.parametrize("now", [0.0, 2_524_608_000.0], ids=["1970", "2050"])
def test_agents_clock_when_wrong_by_years_then_its_requests_are_refused_by_name(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: float
) -> None:
    """No attack but an empty battery: the agent says what is wrong, and keeps its identity."""
    device = Identity.open(tmp_path / "device")
    request = EnrollRequest(token=house.token(), csr=device.certificate_request(), facts=told())
    answer = house.http.post("/enroll", content=msgspec.json.encode(request))
    device.keep(msgspec.json.decode(answer.content, type=EnrollAnswer), f"http://127.0.0.1:{house.port}")
    known = device.known()
    monkeypatch.setattr(agent_door, "time", SimpleNamespace(time=lambda: now))  # its clock alone, not the process's
    with pytest.raises(AgentError) as caught:
        Door(device).renew()
    assert (caught.value.code, caught.value.is_final, device.known()) == ("request.clock_skew", False, known)
    assert house.refusals() == {(NOBODY, "request.clock_skew"): 1}


def test_agents_clock_when_before_any_certificate_then_is_named_and_nothing_is_sent(
    tmp_path: Path, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock in 1970 finds the controller's certificate to be of the future: not that is wrong, but the clock."""
    keys = Keys.open(tmp_path / "controller")
    between = ManBetween(server_tls(keys, utc_now() + timedelta(days=365)), keys.ca_pem)
    opened.callback(between.close)
    monkeypatch.setattr(agent_door, "time", SimpleNamespace(time=lambda: 0.0))
    with pytest.raises(AgentError) as caught:
        enroll(Identity.open(tmp_path / "device"), between.url, f"the-secret.{keys.ca_digest}")
    assert (caught.value.code, caught.value.is_final) == ("clock.wrong", False)
    assert b"the-secret" not in between.heard
