"""Links into object stores: what is trusted there, and what is not even asked."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.stores import SYSTEM_TRUST, Trust, follow
from controller.keys import Keys

DATA = b"0123456789"


@dataclass
class Store:
    """An object store with TLS, under a CA that no system knows."""

    url: str
    ca: str
    asked: list[str]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    keys = Keys.open(tmp_path / "a ca")
    certificate, key = keys.issue_server_certificate(["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Length", str(len(DATA) - start))
            self.end_headers()
            self.wfile.write(DATA[start:])

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Clients that do not trust it are expected."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    (tmp_path / "ca.pem").write_text(keys.ca_pem)
    yield Store(f"https://127.0.0.1:{server.server_port}/a?X-Amz-Signature=secret", str(tmp_path / "ca.pem"), asked)
    server.shutdown()
    thread.join()
    server.server_close()


def test_link_when_the_stores_ca_is_trusted_then_gives_the_rest(store: Store) -> None:
    response = follow(store.url, 4, Trust(ca=store.ca))
    assert response is not None
    assert b"".join(response.stream(3)) == DATA[4:]
    response.close()
    assert store.asked == ["/a?X-Amz-Signature=secret"]


def test_link_when_the_stores_ca_is_not_trusted_then_is_not_followed(store: Store) -> None:
    assert follow(store.url, 0, SYSTEM_TRUST) is None
    assert store.asked == []


@pytest.mark.parametrize(
    "link",
    [
        "http://192.0.2.1/a?X-Amz-Signature=secret",
        "http://127.0.0.1.example.org/a?X-Amz-Signature=secret",
        "ftp://127.0.0.1/a?X-Amz-Signature=secret",
        "file:///etc/passwd",
        "",
    ],
)
def test_link_when_it_has_no_tls_and_leads_away_or_is_none_then_nobody_is_asked(
    link: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert follow(link, 0, SYSTEM_TRUST) is None
    assert "secret" not in caplog.text


def test_link_when_nobody_answers_then_leads_nowhere_and_the_log_does_not_show_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert follow("https://127.0.0.1:9/a?X-Amz-Signature=secret", 0, SYSTEM_TRUST) is None
    assert "https://127.0.0.1:9" in caplog.text
    assert "secret" not in caplog.text


def test_link_when_the_cas_file_is_none_then_says_which_setting(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for ca in (tmp_path / "ca.pem", tmp_path / "nothing"):
        with pytest.raises(AgentError, match="SHOAL_AGENT_BLOBS_CA") as caught:
            follow("https://127.0.0.1:9/a", 0, Trust(ca=str(ca)))
        assert caught.value.code == "settings.invalid"
