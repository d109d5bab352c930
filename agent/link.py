"""The MQTT session, driven by an asyncio loop: one session, or ten thousand in a process.

Each connection is a new MQTT session with a number of its own, which its will carries. Nothing is expected of the
broker's memory: what must arrive waits in the journal, and the birth makes both sides agree again. A message that came
down is acknowledged after its handler has journaled it.
"""

import asyncio
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.door import clock_problem
from agent.identity import Identity
from shoal.wire import topics
from shoal.wire.devices import Will
from shoal.wire.envelope import MAX_ENVELOPE_BYTES

_log: Final = logging.getLogger(__name__)
_KEEPALIVE_S: Final = 60  # a day of pings costs 70 KB; a cut cable is noticed after one and a half of these
_LOOK_S: Final = 10.0  # for a ping that is due; the broker gives a client half of `_KEEPALIVE_S` more
_LONGEST_PAUSE_S: Final = 60.0
_STEADY_S: Final = 30.0
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """Whom the link tells.

    Attributes:
        prepare: Called before each attempt, with whether the broker refused the one before; may take its time.
        begin_session: Gives the number of a new session.
        connected: The session is open and subscribed.
        received: A message came; it is acknowledged when this returns.
    """

    prepare: Callable[[bool], Awaitable[None]]
    begin_session: Callable[[], int]
    connected: Callable[[], None]
    received: Callable[[str, bytes], None]


class Link:
    """Keeps a session open."""

    def __init__(self, identity: Identity, handlers: Handlers) -> None:
        self._identity = identity
        self._handlers = handlers
        self._client: Client | None = None
        self._closed = asyncio.Event()
        self._unacknowledged: dict[int, asyncio.Future[None]] = {}
        self._was_refused = False
        self._was_open = False
        self.is_connected = False
        self.last_error = ""

    async def run(self) -> None:
        """Connect, and connect again with jittered backoff, until canceled; then say goodbye."""
        failures = 0
        try:
            while True:
                await self._handlers.prepare(self._was_refused)
                began = time.monotonic()
                # A session that ends soon after it began is a failure as well: this device flaps.
                if await self._hold_session() and time.monotonic() - began >= _STEADY_S:
                    failures = 0
                failures += 1
                # Full jitter, so that a fleet does not come back all at once.
                await asyncio.sleep(random.uniform(0.1, min(_LONGEST_PAUSE_S, 2.0 ** min(failures, 10))))  # noqa: S311
        finally:
            self._close()

    async def publish(self, channel: str, payload: bytes) -> None:
        """Publish at QoS 1 and wait for the broker's acknowledgement.

        Raises:
            ConnectionError: There is no session, or it ended before that.
        """
        if self._client is None or not self.is_connected:
            raise ConnectionError("there is no session")
        info = self._client.publish(topics.up(self._identity.device_id, channel), payload, qos=1)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionError(f"not published: {info.rc}")
        await self._unacknowledged.setdefault(info.mid, asyncio.get_running_loop().create_future())

    async def goodbye(self, will: Will) -> None:
        """End the session in order: say that the device goes, then disconnect."""
        if self._client is not None and self.is_connected:
            await self.publish("presence", self._identity.seal(will, topics.up(self._identity.device_id, "presence")))
            self._client.disconnect()

    def lose(self) -> None:
        """Break the session off without a word, as a cut cable does: the broker then publishes the will."""
        opened = None if self._client is None else self._client.socket()
        if opened is not None:
            self.is_connected = False
            _forget(asyncio.get_running_loop(), opened.fileno())
            opened.close()
            self._closed.set()

    async def _hold_session(self) -> bool:
        """Open a session and hold it until it ends; tells whether it was ever open, and not refused."""
        loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        self._was_refused = self._was_open = False
        client = self._new_client(loop)
        broker = urlsplit(self._identity.known().broker_url)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MAX_ENVELOPE_BYTES + 1024

        def connect() -> None:
            if broker.scheme == "mqtts":
                client.tls_set_context(self._identity.client_tls())
            client.connect(broker.hostname or "", broker.port or _PORTS[broker.scheme], _KEEPALIVE_S)

        try:
            await asyncio.to_thread(connect)  # files, name resolution and the TLS handshake block
        except (OSError, ValueError) as error:
            # A broker that does not want a certificate ends the handshake with an alert.
            self._was_refused = isinstance(error, ssl.SSLError)
            wrong = clock_problem(error)
            self.last_error = str(wrong or f"The broker at {broker.hostname}:{broker.port} does not answer: {error}")
            _log.warning("%s", self.last_error)
            self._close()
            return False
        while not self._closed.is_set():
            if client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
            try:
                await asyncio.wait_for(self._closed.wait(), _LOOK_S)
            except TimeoutError:
                continue
        self._close()
        return self._was_open and not self._was_refused

    def refuse(self, why: str) -> None:
        """End the session because the controller does not listen to it; tried again after a longer and longer pause."""
        self._was_refused = True
        self.last_error = why
        self._closed.set()

    def _new_client(self, loop: asyncio.AbstractEventLoop) -> Client:
        session = self._handlers.begin_session()
        device_id = self._identity.device_id
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=device_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        topic = topics.up(device_id, "presence")
        client.will_set(topic, self._identity.seal(Will(session=session), topic), qos=1)
        broker = urlsplit(self._identity.known().broker_url)
        if broker.username:
            client.username_pw_set(unquote(broker.username), unquote(broker.password or ""))
        client.connect_timeout = 10
        client.on_connect = self._opened
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._ended
        client.on_message = self._arrived
        client.on_publish = self._acknowledged

        def reading(client: Client, opened: Any) -> None:
            client.loop_read()
            while (pending := getattr(opened, "pending", None)) and opened.fileno() >= 0 and pending():
                client.loop_read()  # TLS has decrypted more than one packet: the socket itself stays silent

        owner = threading.get_ident()

        def on_loop(opened: Any, call: Callable[[], object]) -> None:
            """Call on the loop's thread, now if this is it: a socket closed meanwhile has nothing to watch."""
            if threading.get_ident() == owner:
                if opened.fileno() >= 0:
                    call()
            else:
                loop.call_soon_threadsafe(on_loop, opened, call)

        def socket_opened(client: Client, _userdata: Any, opened: Any) -> None:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            on_loop(opened, lambda: loop.add_reader(opened, reading, client, opened))

        def socket_closed(_client: Client, _userdata: Any, closed: Any) -> None:
            on_loop(closed, lambda: _forget(loop, closed.fileno()))

        def writing_wanted(client: Client, _userdata: Any, opened: Any) -> None:
            on_loop(opened, lambda: loop.add_writer(opened, client.loop_write))

        def writing_done(_client: Client, _userdata: Any, opened: Any) -> None:
            on_loop(opened, lambda: loop.remove_writer(opened))

        client.on_socket_open = socket_opened
        client.on_socket_close = socket_closed
        client.on_socket_register_write = writing_wanted
        client.on_socket_unregister_write = writing_done
        self._client = client
        return client

    def _opened(self, client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._was_refused = True
            self.last_error = f"The broker refused this device: {reason}."
            _log.error("%s", self.last_error)
            self._closed.set()
            return
        options = SubscribeOptions(qos=1)
        client.subscribe([(topics.down_filter(self._identity.device_id), options), (topics.CONTROLLER_STATE, options)])

    def _subscribed(self, _client: Client, _userdata: Any, _mid: int, _reasons: Any, _properties: Any) -> None:
        self.is_connected = self._was_open = True
        self.last_error = ""
        self._handlers.connected()

    def _ended(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        # With TLS 1.3 a broker's refusal of the certificate comes after the handshake: before the session is open.
        self._was_refused = self._was_refused or not self.is_connected
        self.last_error = self.last_error or f"The session ended: {reason}."
        self._closed.set()

    def _arrived(self, client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self._handlers.received(message.topic, bytes(message.payload))
        if message.qos:
            client.ack(message.mid, message.qos)

    def _acknowledged(self, _client: Client, _userdata: Any, mid: int, _reason: Any, _properties: Any) -> None:
        future = self._unacknowledged.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _close(self) -> None:
        self.is_connected = False
        client, self._client = self._client, None
        if client is not None:
            client.on_disconnect = None
            client.disconnect()
            opened = client.socket()
            if opened is not None:
                _forget(asyncio.get_running_loop(), opened.fileno())
                opened.close()
        for future in self._unacknowledged.values():
            if not future.done():
                future.set_exception(ConnectionError("the session ended"))
        self._unacknowledged.clear()


def _forget(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    if descriptor >= 0:
        loop.remove_reader(descriptor)
        loop.remove_writer(descriptor)
