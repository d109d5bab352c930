"""The gateway's MQTT session: takes messages in batches, and publishes the outbox.

Acknowledged means committed: a message is acked after the transaction of its batch. If the database fails, the
connection is dropped and the session kept, because MQTT 5 delivers again only to a new connection. The outbox is
published at QoS 1 and a row goes when the broker has acknowledged it, so a crash repeats a message, never loses one.

Three threads: paho's own (only queues), one that takes batches, one that publishes. Database work never happens on
paho's thread.
"""

import logging
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import PUBACK, Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from controller import events
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.errors import Invalid, Unavailable
from controller.events import SESSION_BEGUN, OutboxRow, WakeUp
from controller.gateway import router
from controller.gateway.access import Inbound
from controller.gateway.telemetry import TelemetryDoor
from controller.keys import Keys
from controller.observe import FAILURES
from controller.settings import Settings
from shoal.wire import envelope, topics

_log: Final = logging.getLogger(__name__)
_SESSION_EXPIRY_S: Final = 7 * 86_400  # the broker keeps what devices say for a controller that is away
_RECEIVE_MAXIMUM: Final = 1000  # unacknowledged messages that the broker may have under way to us
_BATCH: Final = 500  # messages in one transaction
_MANY: Final = 32  # messages that are there at once: more are coming
_LINGER_S: Final = 0.005
_PUBACK: Final = struct.Struct("!BBH")
_IN_FLIGHT: Final = 1000  # outbox rows published and not acknowledged
_LONGEST_PAUSE_S: Final = 30
_LOOK_S: Final = 5.0
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


def require_broker(url: str) -> None:
    """Find out at the start whether somebody listens at the broker's address; one that goes later is waited for.

    Raises:
        Invalid: `settings.invalid`, if the URL is none.
        Unavailable: `broker.missing`.
    """
    host, port = broker_address(url)
    try:
        socket.create_connection((host, port), timeout=_LOOK_S).close()
    except OSError as error:
        message = f"The broker at {host}:{port} does not answer ({error.strerror or error}): start it, or set "
        raise Unavailable("broker.missing", f"{message}SHOAL_BROKER_URL to where it is.") from error


def broker_address(url: str) -> tuple[str, int]:
    """Give a broker's host and port.

    Raises:
        Invalid: `settings.invalid`, if the URL is none.
    """
    broker = urlsplit(url)
    if broker.scheme not in _PORTS or not broker.hostname:
        raise Invalid("settings.invalid", "SHOAL_BROKER_URL is mqtt://host:port or mqtts://host:port.")
    return broker.hostname, broker.port or _PORTS[broker.scheme]


class _Waiting(NamedTuple):
    """A message that waits for its batch; `packet_id` is what is acknowledged, on the connection that it came by."""

    connection: int
    inbound: Inbound
    packet_id: int | None


class Gateway:
    """The devices' door on MQTT."""

    def __init__(self, settings: Settings, database: Database, keys: Keys, blobs: BlobStore, wake_up: WakeUp) -> None:
        self._settings = settings
        self._database = database
        self._keys = keys
        self._blobs = blobs
        self._wake_up = wake_up
        self._telemetry = TelemetryDoor(settings)
        self._inbox: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._published: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._connection = 0  # counts connections: packet ids of an older one mean nothing to the next
        self._is_session_new = threading.Event()
        self._subscribed = threading.Event()
        self._client = self._new_client()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            Invalid: `settings.invalid`, if the broker's URL is none.
        """
        broker = urlsplit(self._settings.broker_url)
        host, port = broker_address(self._settings.broker_url)
        if broker.username:
            self._client.username_pw_set(unquote(broker.username), unquote(broker.password or ""))
        if broker.scheme == "mqtts":
            self._client.tls_set_context(self._tls())
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY_S
        properties.ReceiveMaximum = _RECEIVE_MAXIMUM
        self._client.reconnect_delay_set(1, _LONGEST_PAUSE_S)
        self._client.connect_async(
            host,
            port,
            keepalive=30,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()
        pump = threading.Thread(target=self._publish_outbox, args=(stop,), name="outbox", daemon=True)
        pump.start()
        try:
            self._take_batches(stop)
        finally:
            pump.join(5)
            self._client.disconnect()
            self._client.loop_stop()

    def _new_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.controller_name,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.on_socket_open = self._socket_opened
        client.on_connect = self._connected
        client.on_subscribe = self._heard
        client.on_message = self._arrived
        client.on_publish = self._acknowledged
        client.on_connect_fail = self._not_connected
        client.on_disconnect = self._disconnected
        return client

    def _tls(self) -> ssl.SSLContext:
        certificate, key = self._keys.issue_controller_certificate(self._settings.controller_name)
        context = ssl.create_default_context(cafile=str(self._keys.ca_path))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an operator's intermediate is trusted without its root
        context.load_cert_chain(certificate, key)
        return context

    # Called on paho's thread: these only note and queue.

    def _socket_opened(self, _client: Client, _userdata: Any, opened: Any) -> None:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # 88 ms a small round without it

    def _connected(self, client: Client, _userdata: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            _log.error("the broker refused the controller: %s; check SHOAL_BROKER_URL and its credentials", reason)
            return
        self._connection += 1
        if not flags.session_present:
            self._is_session_new.set()
        client.subscribe(topics.UP_FILTER, qos=1)

    def _heard(self, _client: Client, _userdata: Any, _mid: int, _reasons: Any, _properties: Any) -> None:
        self._subscribed.set()
        _log.info("connected to the broker")

    def _not_connected(self, _client: Client, _userdata: Any) -> None:
        _log.error("the broker at %s does not answer; is it running?", urlsplit(self._settings.broker_url).netloc[-60:])

    def _disconnected(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._subscribed.clear()
        _log.info("disconnected from the broker: %s", reason)

    def _arrived(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        # Of paho's own message nothing is kept: its properties alone have 10 KB, and 10,000 wait while a fleet joins.
        inbound = Inbound(message.topic, bytes(message.payload))
        self._inbox.put(_Waiting(self._connection, inbound, message.mid if message.qos else None))

    def _acknowledged(self, _client: Client, _userdata: Any, mid: int, _reason: Any, _properties: Any) -> None:
        self._published.put(mid)

    # Taking messages

    def _take_batches(self, stop: threading.Event) -> None:
        while not stop.is_set():
            batch = self._next_batch()
            try:
                self._note_new_session()
                if batch:
                    self._take(batch)
            except SQLAlchemyError:
                _log.exception("the database failed; messages stay with the broker")
                FAILURES.labels(loop="gateway").inc()
                self._drop_connection()
                stop.wait(1)
            except Exception:  # the loop's edge: one bad batch must not end the gateway
                _log.exception("a batch failed; its messages stay with the broker")
                FAILURES.labels(loop="gateway").inc()
                self._drop_connection()
                stop.wait(1)

    def _next_batch(self) -> list[_Waiting]:
        """Wait for a message, and give it with those that are there; where many come, with those that just come in.

        A lone message is never kept waiting. Under load a larger batch has fewer commits, and this thread and paho's
        do not fight over the interpreter for each message.
        """
        try:
            batch = [self._inbox.get(timeout=0.5)]
        except queue.Empty:
            return []
        while len(batch) < _BATCH:
            there = min(self._inbox.qsize(), _BATCH - len(batch))
            if not there and len(batch) < _MANY:
                break
            if not there:
                time.sleep(_LINGER_S)
                there = min(self._inbox.qsize(), _BATCH - len(batch))
                if not there:
                    break
            batch += [self._inbox.get_nowait() for _ in range(there)]
        return batch

    def _note_new_session(self) -> None:
        """Say that the broker had forgotten us, so that devices whose messages it did not keep give birth again."""
        if self._subscribed.is_set() and self._is_session_new.is_set():
            with self._database.transaction() as session:
                events.record(session, SESSION_BEGUN, subject=self._settings.controller_name)
            self._is_session_new.clear()

    def _take(self, batch: list[_Waiting]) -> None:
        now = utc_now()
        with self._database.transaction() as session:
            router.take(session, [waiting.inbound for waiting in batch], self._blobs, self._telemetry, now)
        mine = (waiting.packet_id for waiting in batch if waiting.connection == self._connection)
        self._acknowledge([packet_id for packet_id in mine if packet_id is not None])

    def _acknowledge(self, mids: Sequence[int]) -> None:
        """Acknowledge messages of QoS 1 as one piece of bytes.

        paho's public `ack` makes a wake-up, a write and a TLS record of each, which is more than all else that is done
        for a message. A packet may hold several as well: what is queued is only bytes to it.
        """
        if mids:
            packets = b"".join(_PUBACK.pack(PUBACK, 2, mid) for mid in mids)
            self._client._packet_queue(PUBACK, packets, mids[-1], 1)

    def _drop_connection(self) -> None:
        """Make the broker deliver again what was not acknowledged: close the socket, keep the session."""
        while not self._inbox.empty():
            self._inbox.get_nowait()
        opened = self._client.socket()
        if isinstance(opened, socket.socket):  # a TLS one is, too
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                _log.debug("the connection was gone already")

    # Publishing

    def _publish_outbox(self, stop: threading.Event) -> None:
        in_flight: dict[int, str] = {}  # packet id -> outbox row
        early: set[int] = set()  # acknowledged before `publish` told us the packet id
        seen = 0
        while not stop.is_set():
            try:
                self._forget_published(in_flight, early)
                if self._subscribed.is_set():
                    self._publish_rows(in_flight)
            except SQLAlchemyError:
                _log.exception("the outbox could not be read")
                FAILURES.labels(loop="outbox").inc()
                stop.wait(1)
            # An acknowledgement is no event; while some are open, look again soon so that rows do not pile up.
            seen = self._wake_up.wait(seen, 0.05 if in_flight else 1.0)

    def _publish_rows(self, in_flight: dict[int, str]) -> None:
        room = _IN_FLIGHT - len(in_flight)
        if room <= 0:
            return
        with self._database.reading() as session:
            query = select(OutboxRow).where(OutboxRow.id.not_in(in_flight.values())) if in_flight else select(OutboxRow)
            rows = session.scalars(query.order_by(OutboxRow.id).limit(room)).all()
        unfit: list[str] = []
        for row in rows:
            try:
                info = self._client.publish(row.topic, self._payload(row), qos=1, retain=row.retain)
            except ValueError:
                _log.exception("a message for %s cannot be published and is dropped", row.topic)
                FAILURES.labels(loop="outbox").inc()
                unfit.append(row.id)
            else:
                in_flight[info.mid] = row.id
        self._forget(unfit)

    def _payload(self, row: OutboxRow) -> bytes:
        if not row.kind:
            return b""  # clears a retained message
        return envelope.seal_text(row.kind, row.body, topic=row.topic, key=self._keys.signing_key)

    def _forget_published(self, in_flight: dict[int, str], early: set[int]) -> None:
        while not self._published.empty():
            early.add(self._published.get_nowait())
        done = early & in_flight.keys()
        early -= done
        self._forget([in_flight[mid] for mid in done])
        for mid in done:
            del in_flight[mid]

    def _forget(self, row_ids: list[str]) -> None:
        if row_ids:
            with self._database.transaction() as session:
                session.execute(delete(OutboxRow).where(OutboxRow.id.in_(row_ids)))
