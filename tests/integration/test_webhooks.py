"""Events posted to a real receiver."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import select

from controller import events
from controller.db import Database, utc_now
from controller.errors import Conflict, Invalid
from controller.events import EventRow, WakeUp
from controller.webhooks import posting, service
from controller.webhooks.poster import Poster
from controller.webhooks.posting import Post
from controller.webhooks.tables import DeliveryRow, WebhookRow
from shoal.schemas.telemetry import WebhookRequest
from tests.databases import make_tables
from tests.rig import wait_for


class Receiver:
    """Takes posts, and answers what it is told to."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append((dict(self.headers), body))
                self.send_response(receiver.status)
                self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/take?all=1"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def names(self) -> list[str]:
        return [json.loads(body)["name"] for _, body in self.posts]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def database(empty_database: Database) -> Database:
    make_tables(empty_database)
    return empty_database


@pytest.fixture
def posting_on(database: Database) -> Iterator[None]:
    wake_up, stop = WakeUp(database), threading.Event()
    poster = Poster(database=database, wake_up=wake_up, may_run=lambda: True)
    thread = threading.Thread(target=poster.run, args=(stop,))
    thread.start()
    yield
    stop.set()
    wake_up.notify()
    thread.join()
    wake_up.close()


def add_webhook(database: Database, url: str, *names: str, name: str = "ops") -> str:
    with database.transaction() as session:
        return service.create(session, WebhookRequest(name=name, url=url, events=list(names)), "test").secret


def record(database: Database, *names: str) -> None:
    with database.transaction() as session:
        for name in names:
            events.record(session, name, subject="s", device_id="d-a", data={"n": 1})


def deliveries(database: Database) -> list[tuple[str, str, int, int | None]]:
    with database.reading() as session:
        rows = session.scalars(select(DeliveryRow).order_by(DeliveryRow.id))
        return [(row.event, row.state, row.attempts, row.code) for row in rows]


@pytest.mark.usefixtures("posting_on")
def test_events_when_chosen_then_are_posted_once_in_order_and_signed(database: Database, receiver: Receiver) -> None:
    secret = add_webhook(database, receiver.url, "alert.*", "device.offline")
    record(database, "alert.fired", "device.online", "device.offline", "alert.resolved")
    wait_for(lambda: len(receiver.posts) == 3)
    wait_for(lambda: {state for _, state, _, _ in deliveries(database)} == {"delivered"})
    assert receiver.names() == ["alert.fired", "device.offline", "alert.resolved"]
    headers, body = receiver.posts[0]
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Shoal-Signature"] == f"sha256={expected}"
    assert headers["X-Shoal-Event"] == "alert.fired"
    told = json.loads(body)
    with database.reading() as session:
        event = session.scalars(select(EventRow).where(EventRow.name == "alert.fired")).one()
        assert told == {
            "id": event.id,
            "name": "alert.fired",
            "subject": "s",
            "device_id": "d-a",
            "data": {"n": 1},
            "at": event.at.isoformat(),
        }
        webhook = session.scalars(select(WebhookRow)).one()
        assert (webhook.last_code, webhook.last_error) == (204, "")


@pytest.mark.usefixtures("posting_on")
def test_receiver_when_it_refuses_then_the_same_bytes_come_again(database: Database, receiver: Receiver) -> None:
    receiver.status = 500
    add_webhook(database, receiver.url, "*")
    record(database, "device.online")
    wait_for(lambda: deliveries(database) == [("device.online", "waiting", 1, 500)])
    receiver.status = 200
    with database.transaction() as session:
        session.scalars(select(DeliveryRow)).one().next_at = utc_now()
    wait_for(lambda: deliveries(database) == [("device.online", "delivered", 2, 200)])
    (first, body), (second, again) = receiver.posts
    assert (first["X-Shoal-Delivery"], body) == (second["X-Shoal-Delivery"], again)


@pytest.mark.usefixtures("posting_on")
def test_receiver_when_it_is_gone_then_others_are_posted_to(database: Database, receiver: Receiver) -> None:
    gone = Receiver()
    gone.close()
    add_webhook(database, gone.url, "*", name="gone")
    add_webhook(database, receiver.url, "*")
    record(database, "device.online", "device.offline")
    wait_for(lambda: len(receiver.posts) == 2)
    wait_for(lambda: sorted(attempts for _, _, attempts, _ in deliveries(database)) == [1, 1, 1, 1])


def test_event_when_its_transaction_is_rolled_back_then_nothing_is_queued(database: Database) -> None:
    add_webhook(database, "http://127.0.0.1:9/", "*")
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        events.record(session, "device.online", subject="d-a")
        session.flush()
        raise ZeroDivisionError
    assert deliveries(database) == []


def test_delivery_when_a_day_of_trying_is_over_then_is_given_up(database: Database) -> None:
    add_webhook(database, "http://127.0.0.1:9/", "*")
    record(database, "device.online")
    late = utc_now() + timedelta(days=1)
    with database.transaction() as session:
        (due,) = service.due(session, late, limit=10)
        service.note(session, due.delivery_id, posting.post(due.post), late)
        assert service.due(session, late, limit=10) == []
    assert [(state, attempts) for _, state, attempts, _ in deliveries(database)] == [("failed", 1)]


def test_webhook_when_deleted_then_what_waits_goes(database: Database) -> None:
    add_webhook(database, "http://127.0.0.1:9/", "*")
    record(database, "device.online")
    with database.transaction() as session:
        service.remove(session, "ops")
    assert deliveries(database) == []


def test_old_deliveries_when_pruned_then_are_forgotten(database: Database) -> None:
    add_webhook(database, "http://127.0.0.1:9/", "*")
    record(database, "device.online")
    with database.transaction() as session:
        service.prune(session, utc_now() + timedelta(days=8))
    assert deliveries(database) == []


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/latest/meta-data", "webhook.forbidden_address"),
        ("http://[fe80::1]/", "webhook.forbidden_address"),
        ("http://[::ffff:169.254.169.254]/", "webhook.forbidden_address"),
        ("http://user:secret@example.org/", "webhook.bad_url"),
        ("http:///path", "webhook.bad_url"),
        ("http://host:99999/", "webhook.bad_url"),
    ],
)
def test_url_when_it_may_not_be_called_then_is_refused(database: Database, url: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        add_webhook(database, url, "*")
    assert refused.value.code == code


def test_webhook_when_its_name_is_taken_then_is_refused(database: Database) -> None:
    add_webhook(database, "http://127.0.0.1:9/", "*")
    with pytest.raises(Conflict):
        add_webhook(database, "http://127.0.0.1:9/", "*")


def test_redirect_when_answered_then_is_not_followed(receiver: Receiver) -> None:
    receiver.status = 307
    outcome = posting.post(Post(url=receiver.url, secret="k", event="e", delivery_id="i", body="{}"))
    assert (outcome.code, outcome.error) == (307, "webhook.refused: it answered 307.")
    assert len(receiver.posts) == 1


def test_name_when_it_means_a_forbidden_address_then_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack: a name that is looked up only when it is posted to, and then means the cloud's own metadata."""
    found = [(2, 1, 6, "", ("127.0.0.1", 80)), (2, 1, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(posting.socket, "getaddrinfo", lambda *_, **__: found)
    outcome = posting.post(Post(url="http://innocent.example/", secret="k", event="e", delivery_id="i", body="{}"))
    assert outcome.code is None
    assert outcome.error.startswith("webhook.forbidden_address")


def test_host_when_unknown_then_the_outcome_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise OSError("no such host")

    monkeypatch.setattr(posting.socket, "getaddrinfo", unknown)
    outcome = posting.post(Post(url="http://nowhere.example/", secret="k", event="e", delivery_id="i", body="{}"))
    assert outcome.error.startswith("webhook.unknown_host")
