"""A device for tests, played by the wire code alone."""

import queue
import ssl
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from controller.db import utc_now
from controller.devices import enrollment
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.wire import envelope, signing, topics
from shoal.wire.devices import Birth, EnrollAnswer, EnrollRequest, Facts
from shoal.wire.envelope import Message
from tests.rig import BrokerAt, Office

M = TypeVar("M")


class Device:
    """A device that speaks the protocol by itself, so that it can also speak it wrongly."""

    def __init__(self, office: Office, broker: BrokerAt, folder: Path, *, can_train: bool = False) -> None:
        self.key = Ed25519PrivateKey.generate()
        self._controller_key = signing.raw_public_key(office.keys.signing_key.public_key())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self.key, None)
        facts = Facts(
            hostname="cam",
            machine="x86_64",
            system="Linux",
            python="3.11",
            agent_version="0.1.0",
            runtimes={"onnxruntime": "1"},
            can_train=can_train,
        )
        self.facts = facts
        with office.database.transaction() as session:
            _, token = enrollment.create_token(
                session, EnrollmentTokenRequest(), ca_digest=office.keys.ca_digest, actor="test"
            )
            request = EnrollRequest(token=token, csr=csr.public_bytes(Encoding.PEM).decode(), facts=facts)
            answer = enrollment.enroll(session, office.keys, office.settings, request, utc_now())
        assert isinstance(answer, EnrollAnswer)
        self.id = answer.device_id
        self.inbox: queue.Queue[Message] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=self.id, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._arrived
        url = urlsplit(broker.url)
        if broker.has_access_list:
            certificate, key = folder / f"{self.id}.pem", folder / f"{self.id}.key"
            certificate.write_text(answer.certificate)
            key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            context = ssl.create_default_context(cadata=answer.ca)
            context.load_cert_chain(certificate, key)
            self._client.tls_set_context(context)
        else:
            self._client.username_pw_set(url.username, url.password)
        self._client.connect(url.hostname or "", url.port or 0)
        self._client.subscribe(topics.down_filter(self.id), qos=1)
        self._client.loop_start()

    def say(self, channel: str, message: Message, *, topic: str = "", key: Ed25519PrivateKey | None = None) -> None:
        topic = topic or topics.up(self.id, channel)
        self.shout(topic, envelope.seal(message, topic=topics.up(self.id, channel), key=key or self.key))

    def shout(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def birth(self, session: int = 1, **others: Any) -> None:
        self.say(
            "presence",
            Birth(id=f"{session}-1", session=session, instance="i", boot_id="b", agent_version="0.1.0", **others),
        )

    def hears(self, kind: type[M]) -> M:
        while not isinstance(message := self.inbox.get(timeout=20), kind):
            pass
        return message

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _arrived(self, _client: Client, _userdata: Any, message: Any) -> None:
        if not message.payload:
            return  # a retained message was cleared
        known = {signing.key_id_of(self._controller_key): self._controller_key}
        self.inbox.put(envelope.open_envelope(message.payload, topic=message.topic, public_key_of=known.get))
