"""Makes brokers follow what operators decide about devices: signs the list of revoked certificates, ends sessions.

A session is ended by taking it over: a connection with the device's name, by a certificate of five minutes, makes any
MQTT broker close the older one. A device that the broker still lets in comes back, and is refused by the doors; when
the broker has taken over the list (`shoal broker sync`) its session is ended once more, and it stays out.
"""

import logging
import ssl
import threading
from typing import Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import select, update

from controller.db import Database, utc_now
from controller.devices import identity
from controller.devices.tables import DeviceRow
from controller.events import WakeUp
from controller.gateway.client import broker_address
from controller.keys import Keys
from controller.observe import FAILURES
from controller.settings import Settings

_log: Final = logging.getLogger(__name__)
_ANSWER_S: Final = 10.0
_PAUSE_S: Final = 5.0
_AT_ONCE: Final = 100


class Expulsion:
    """The thread that does it."""

    def __init__(self, settings: Settings, database: Database, keys: Keys, wake_up: WakeUp) -> None:
        self._settings = settings
        self._database = database
        self._keys = keys
        self._wake_up = wake_up

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        seen = 0
        while not stop.is_set():
            try:
                self._sign()
                self._end_sessions(stop)
            except Exception:  # the loop's edge: a device that is out stays out at the doors meanwhile
                _log.exception("sessions could not be ended")
                FAILURES.labels(loop="expulsion").inc()
                stop.wait(_PAUSE_S)
            seen = self._wake_up.wait(seen, _PAUSE_S)

    def _sign(self) -> None:
        with self._database.reading() as session:
            is_due = identity.is_access_due(session, utc_now())
        if is_due:
            with self._database.transaction() as session:
                identity.make_access(session, self._keys, utc_now())

    def _end_sessions(self, stop: threading.Event) -> None:
        with self._database.reading() as session:
            query = select(DeviceRow.id).where(DeviceRow.session_must_end.is_(True)).order_by(DeviceRow.id)
            device_ids = list(session.scalars(query.limit(_AT_ONCE)))
        for device_id in device_ids:
            if stop.is_set():
                return
            if self._take_over(device_id):
                with self._database.transaction() as session:
                    session.execute(update(DeviceRow).where(DeviceRow.id == device_id).values(session_must_end=False))
                _log.info("ended the session of %s", device_id)
            else:
                FAILURES.labels(loop="expulsion").inc()
                stop.wait(_PAUSE_S)
                return

    def _take_over(self, device_id: str) -> bool:
        broker = urlsplit(self._settings.broker_url)
        host, port = broker_address(self._settings.broker_url)
        client = Client(CallbackAPIVersion.VERSION2, client_id=device_id, protocol=MQTTProtocolVersion.MQTTv5)
        answered = threading.Event()
        client.on_connect = lambda *_: answered.set()
        if broker.username:
            client.username_pw_set(unquote(broker.username), unquote(broker.password or ""))
        if broker.scheme == "mqtts":
            with self._keys.takeover_certificate(device_id, utc_now()) as (certificate, key):
                context = ssl.create_default_context(cafile=str(self._keys.ca_path))
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                context.load_cert_chain(certificate, key)
                client.tls_set_context(context)
        try:
            client.connect(host, port, keepalive=30)
            client.loop_start()
            if not answered.wait(_ANSWER_S) or not client.is_connected():
                _log.error("the broker did not let the session of %s be taken over", device_id)
                return False
        except OSError as error:
            _log.error("the session of %s could not be taken over: %s", device_id, error)
            return False
        else:
            return True
        finally:
            client.disconnect()
            client.loop_stop()
