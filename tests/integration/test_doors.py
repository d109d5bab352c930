"""Both HTTP doors as they run: real servers on loopback ports, on SQLite and a folder of blobs."""

import hashlib
import io
import os
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from controller.api.deps import Parts
from controller.app import create_api
from controller.auth import service as users
from controller.blobs import BlobStore, UrlSigner
from controller.db import Database, utc_now
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.errors import Unavailable
from controller.gateway import http as device_door
from controller.keys import Keys
from controller.observe import RefusalRow
from controller.server import listen
from controller.settings import Settings
from shoal.wire import signing
from shoal.wire.devices import EnrollAnswer, EnrollRequest, Facts
from shoal.wire.tensors import encode_tensors
from tests.databases import make_tables
from tests.registry import signature_row

FACTS = Facts(
    hostname="cam-1",
    machine="x86_64",
    system="Linux",
    python="3.11",
    agent_version="0.1.0",
    runtimes={"onnxruntime": "1"},
    can_train=False,
)


class Server:
    """An application on a free loopback port."""

    def __init__(self, app: Any) -> None:
        self._socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


class Controller:
    """Both doors over one database."""

    def __init__(self, state: Path, database: Database | None = None) -> None:
        self.settings = Settings(state=state, max_upload_bytes=4_000_000)
        self.keys = Keys.open(state)
        self.database = database or Database(self.settings.resolved_database_url())
        make_tables(self.database)
        self.blobs = BlobStore(self.settings.blobs_at())
        with self.database.transaction() as session:
            self.password = users.make_first_user(session) or ""
        self.api = Server(
            create_api(
                Parts(
                    settings=self.settings,
                    database=self.database,
                    blobs=self.blobs,
                    url_signer=UrlSigner(self.keys.url_key),
                    ca_digest=self.keys.ca_digest,
                )
            )
        )
        self.door = Server(
            device_door.create_door(
                device_door.Parts(settings=self.settings, database=self.database, keys=self.keys, blobs=self.blobs)
            )
        )
        self.operator = httpx.Client(base_url=f"{self.api.url}/v1")
        answer = self.operator.post("/tokens", json={"username": "admin", "password": self.password})
        self.operator.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        self.device = httpx.Client(base_url=f"{self.door.url}/device/v1")

    def close(self) -> None:
        self.operator.close()
        self.device.close()
        self.api.close()
        self.door.close()
        self.database.close()

    def upload(self, data: bytes) -> str:
        answer = self.operator.post("/artifacts", content=data)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["sha256"])

    def enroll(self, key: Ed25519PrivateKey, **wanted: Any) -> EnrollAnswer:
        token = self.operator.post("/enrollment-tokens", json=wanted).json()["token"]
        body = EnrollRequest(token=token, csr=csr_of(key), facts=FACTS)
        answer = self.device.post("/enroll", content=msgspec.json.encode(body))
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=EnrollAnswer)

    def refusals(self) -> dict[tuple[str, str], int]:
        with self.database.reading() as session:
            return {(row.device_id, row.code): row.count for row in session.scalars(select(RefusalRow))}


def csr_of(key: Ed25519PrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, None).public_bytes(Encoding.PEM).decode()


def signed(key: Ed25519PrivateKey, device_id: str, method: str, path: str, off_s: int = 0) -> dict[str, str]:
    at = str(int(utc_now().timestamp()) + off_s)
    signature = signing.sign(key, f"{method} /device/v1{path} {at}", "")
    return {"Shoal-Device": device_id, "Shoal-At": at, "Shoal-Signature": signature}


def program() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("p/archive_format", "pt2")
        archive.writestr("p/models/model.json", "{}")
    return buffer.getvalue()


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    controller = Controller(tmp_path)
    yield controller
    controller.close()


@pytest.fixture
def controller_on_both(tmp_path: Path, empty_database: Database) -> Iterator[Controller]:
    controller = Controller(tmp_path, empty_database)
    yield controller
    controller.close()


def test_login_when_wrong_then_is_refused_and_says_nothing_about_the_name(controller: Controller) -> None:
    answers = [
        controller.operator.post("/tokens", json={"username": name, "password": "guess"}) for name in ("admin", "who")
    ]
    assert [code_of(answer) for answer in answers] == [(401, "auth.wrong_password")] * 2
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert answers[0].json()["request_id"] == answers[0].headers["x-request-id"]


def test_paths_when_called_without_a_token_then_only_health_and_login_are_open(controller: Controller) -> None:
    document = create_api().openapi()
    open_paths = {
        path
        for path, methods in document["paths"].items()
        for method in methods
        if httpx.request(
            method, controller.api.url + path.replace("{number}", "1").replace("{version}", "1"), json={}
        ).status_code
        != 401
    }
    assert open_paths == {"/v1/health", "/v1/tokens", "/v1/artifacts/{sha256}/content"}


def test_token_when_deleted_then_opens_nothing(controller: Controller) -> None:
    (token,) = controller.operator.get("/tokens").json()["items"]
    assert controller.operator.get("/users/me").json()["name"] == "admin"
    assert controller.operator.delete(f"/tokens/{token['id']}").status_code == 204
    assert code_of(controller.operator.get("/users/me")) == (401, "auth.wrong_token")


def test_request_when_malformed_then_the_problem_names_the_field_and_not_the_value(controller: Controller) -> None:
    answer = controller.operator.post("/tokens", json={"username": "admin", "password": ["s3cret"]})
    assert code_of(answer) == (422, "request.invalid")
    assert answer.json()["errors"][0]["field"] == "body.password"
    assert "s3cret" not in answer.text


def test_query_when_it_has_a_parameter_that_no_endpoint_knows_then_is_refused_by_name(controller: Controller) -> None:
    answer = controller.operator.get("/devices", params={"selectr": 'state == "pending"'})
    assert code_of(answer) == (422, "request.unknown_parameter")
    assert answer.json()["suggestion"] == "selector"
    assert "cursor, limit, q, selector" in answer.json()["detail"]
    assert code_of(controller.operator.get("/fleet", params={"state": "pending"})) == (422, "request.unknown_parameter")


def test_request_when_too_large_then_is_refused(controller: Controller) -> None:
    answer = controller.operator.post("/models", content=b"[" * (9 * 1024 * 1024))
    assert code_of(answer) == (413, "request.too_large")


def test_requests_when_more_write_at_once_than_the_door_has_threads_then_all_are_done_at_once(
    controller_on_both: Controller,
) -> None:
    def write(number: int) -> int:
        body = {"name": f"token-{number}"}
        return controller_on_both.operator.post("/enrollment-tokens", json=body, timeout=20).status_code

    with ThreadPoolExecutor(120) as pool:
        assert set(pool.map(write, range(240))) == {201}


def test_artifact_when_uploaded_then_a_link_gives_it_whole_and_in_ranges(controller: Controller) -> None:
    data = os.urandom(3_000_000)
    sha256 = controller.upload(data)
    assert sha256 == hashlib.sha256(data).hexdigest()
    url = controller.api.url + controller.operator.post(f"/artifacts/{sha256}/url").json()["url"]
    assert httpx.get(url).content == data
    part = httpx.get(url, headers={"Range": "bytes=1000000-1999999"})
    assert (part.status_code, part.content) == (206, data[1_000_000:2_000_000])
    assert part.headers["content-range"] == "bytes 1000000-1999999/3000000"
    beyond = httpx.get(url, headers={"Range": "bytes=3000000-"})
    assert (code_of(beyond), beyond.headers["content-range"]) == ((416, "range.not_satisfiable"), "bytes */3000000")
    assert code_of(httpx.get(url[:-1])) == (403, "url.invalid")


def test_artifact_when_too_large_or_of_another_digest_then_is_refused_and_not_kept(controller: Controller) -> None:
    assert code_of(controller.operator.post("/artifacts", content=b"x" * 4_000_001)) == (413, "artifact.too_large")
    answer = controller.operator.post("/artifacts", content=b"x", headers={"Shoal-Sha256": "0" * 64})
    assert code_of(answer) == (422, "artifact.digest_mismatch")
    assert [path for path in (controller.settings.state / "blobs").rglob("*") if path.is_file()] == []


def test_dataset_when_good_then_its_figures_are_read_from_it(controller: Controller) -> None:
    x = np.zeros((5, 1, 8, 8), np.float32)
    sha256 = controller.upload(encode_tensors({"x": x, "y": np.arange(5)}))
    body = {"name": "digits-eval", "role": "evaluation", "sha256": sha256}
    answer = controller.operator.post("/datasets", json=body)
    assert (answer.status_code, answer.json()["samples"]) == (201, 5)
    tensors = {"x": {"datatype": "FP32", "shape": [1, 8, 8]}, "y": {"datatype": "INT64", "shape": []}}
    assert answer.json()["tensors"] == tensors
    assert controller.operator.get("/datasets/digits-eval").json() == answer.json()
    assert code_of(controller.operator.post("/datasets", json=body)) == (409, "dataset.exists")


def test_version_when_registered_then_counts_up_and_bad_files_are_refused(controller: Controller) -> None:
    model = {"name": "digits", "signature": signature_row([1, 8, 8], 2), "class_labels": ["0", "1"]}
    assert controller.operator.post("/models", json=model).status_code == 201
    good = {
        "train_program": controller.upload(program()),
        "eval_program": controller.upload(program()),
        "weights": controller.upload(encode_tensors({"w": np.ones(3, np.float32)})),
    }
    first, second = (controller.operator.post("/models/digits/versions", json=good).json() for _ in range(2))
    assert [first["number"], second["number"]] == [1, 2]
    assert {first["state"], second["state"]} == {"checking"}
    pickle = controller.upload(b"\x80\x04N.")
    spoiled = controller.upload(encode_tensors({"w": np.full(3, np.nan, np.float32)}))
    for change, code in (
        ({"train_program": pickle}, (422, "model.not_a_program")),
        ({"weights": pickle}, (422, "model.bad_weights")),
        ({"weights": spoiled}, (422, "model.bad_weights")),
        ({"weights": "0" * 64}, (404, "artifact.not_found")),
        ({"eval_program": None}, (422, "request.invalid")),
        ({"file": pickle}, (422, "request.invalid")),
    ):
        assert code_of(controller.operator.post("/models/digits/versions", json={**good, **change})) == code
    assert controller.operator.get("/models/digits").json()["versions"] == 2
    listed = controller.operator.get("/models/digits/versions").json()["items"]
    assert [version["number"] for version in listed] == [2, 1]


def test_device_when_enrolled_over_http_then_is_listed_searched_and_labelled(controller_on_both: Controller) -> None:
    controller = controller_on_both
    ids = sorted(controller.enroll(Ed25519PrivateKey.generate(), labels={"site": "a"}).device_id for _ in range(3))
    first = controller.operator.get("/devices", params={"limit": 2}).json()
    rest = controller.operator.get("/devices", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [device["id"] for device in first["items"] + rest["items"]] == ids
    assert (first["total"], rest["next_cursor"]) == (3, None)
    changed = controller.operator.patch(f"/devices/{ids[0]}", json={"labels": {"site": "b"}}).json()
    assert (changed["labels"], changed["desired"], changed["reported"]) == ({"site": "b"}, [1, 0], [0, 0])
    assert controller.operator.get("/devices", params={"selector": 'labels.site == "a"'}).json()["total"] == 2
    assert controller.operator.get("/devices", params={"q": "CAM"}).json()["total"] == 3
    assert controller.operator.get("/fleet").json()["states"] == {"active": 3}
    assert "enrollment_token.create" in {entry["action"] for entry in controller.operator.get("/audit").json()["items"]}


def test_device_id_when_odd_in_a_path_then_is_not_found_or_refused_by_name(controller_on_both: Controller) -> None:
    for odd in ("%00", "d-%2F..%2Fx", "%23", "+", "x" * 5000, "%F0%9F%90%9F"):
        answer = controller_on_both.operator.get(f"/devices/{odd}")
        assert answer.status_code in (404, 422)
        assert answer.json()["code"]


def test_ca_when_fetched_then_is_the_one_in_the_token(controller: Controller) -> None:
    token = controller.operator.post("/enrollment-tokens", json={}).json()["token"]
    certificate = x509.load_pem_x509_certificate(controller.device.get("/ca").content)
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    assert token.endswith(f".{digest}")


def test_enroll_when_refused_then_has_a_name_and_is_counted(controller: Controller) -> None:
    stranger = f"wrong.{controller.operator.post('/enrollment-tokens', json={}).json()['token'].partition('.')[2]}"
    body = EnrollRequest(token=stranger, csr=csr_of(Ed25519PrivateKey.generate()), facts=FACTS)
    for _ in range(2):
        answer = controller.device.post("/enroll", content=msgspec.json.encode(body))
        assert code_of(answer) == (403, "enrollment.wrong_token")
    assert code_of(controller.device.post("/enroll", content=b"{")) == (422, "request.invalid")
    assert code_of(controller.device.post("/enroll", content=b" " * 100_000)) == (413, "request.too_large")
    assert controller.refusals()[("", "enrollment.wrong_token")] == 2
    assert controller.operator.get("/devices").json()["total"] == 0


def test_blobs_when_signed_then_go_both_ways_and_resume(controller: Controller) -> None:
    key, data = Ed25519PrivateKey.generate(), os.urandom(2_500_000)
    device_id = controller.enroll(key).device_id
    path = f"/blobs/{hashlib.sha256(data).hexdigest()}"
    put = controller.device.put(path, content=data, headers=signed(key, device_id, "PUT", path))
    assert put.status_code == 201
    headers = signed(key, device_id, "GET", path)
    assert controller.device.get(path, headers=headers).content == data
    rest = controller.device.get(path, headers={**headers, "Range": "bytes=2000000-"})
    assert (rest.status_code, rest.content) == (206, data[2_000_000:])


def test_blobs_when_not_signed_by_an_active_device_then_are_refused(controller: Controller) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    device_id = controller.enroll(key).device_id
    path = f"/blobs/{controller.upload(b'secret')}"
    for headers, code in (
        ({}, "request.unsigned"),
        (signed(other, device_id, "GET", path), "signature.invalid"),
        (signed(key, device_id, "PUT", path), "signature.invalid"),
        (signed(key, device_id, "GET", "/blobs/" + "0" * 64), "signature.invalid"),
        (signed(key, device_id, "GET", path, off_s=-400), "request.clock_skew"),
        (signed(key, "d-bbbbbbbbbbbbbbb2", "GET", path), "device.unknown"),
    ):
        assert code_of(controller.device.get(path, headers=headers)) == (401, code)
    with controller.database.transaction() as session:
        row = session.get(DeviceRow, device_id)
        assert row is not None
        row.state = DeviceState.SUSPENDED
    answer = controller.device.get(path, headers=signed(key, device_id, "GET", path))
    assert code_of(answer) == (403, "device.suspended")
    assert controller.refusals()[(device_id, "device.suspended")] == 1


def test_put_blob_when_digest_differs_or_no_length_then_is_refused(controller: Controller) -> None:
    key = Ed25519PrivateKey.generate()
    device_id = controller.enroll(key).device_id
    path = f"/blobs/{'0' * 64}"
    headers = signed(key, device_id, "PUT", path)
    assert code_of(controller.device.put(path, content=b"abc", headers=headers)) == (422, "artifact.digest_mismatch")
    chunked = controller.device.put(path, content=iter([b"abc"]), headers=headers)
    assert code_of(chunked) == (411, "upload.no_length")


def test_cursor_when_made_up_then_is_refused(controller: Controller) -> None:
    assert code_of(controller.operator.get("/devices", params={"cursor": "%%"})) == (422, "page.bad_cursor")


def test_listen_when_port_is_in_use_then_one_sentence_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="choose another port"):
            listen("127.0.0.1", taken.getsockname()[1])


def test_device_door_certificate_when_trusting_the_ca_then_verifies(tmp_path: Path) -> None:
    keys = Keys.open(tmp_path)
    certificate, key = keys.issue_server_certificate(["127.0.0.1"])
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.create_default_context(cadata=keys.ca_pem)
    left, right = socket.socketpair()
    answering = threading.Thread(target=lambda: server_side.wrap_socket(left, server_side=True).close())
    answering.start()
    with client_side.wrap_socket(right, server_hostname="127.0.0.1") as secured:
        assert secured.version() == "TLSv1.3"
    answering.join()
