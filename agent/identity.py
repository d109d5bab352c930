"""Who this device is: its key, made here and never leaving, and what the controller said when it enrolled or renewed.

The only toucher of the private key. Everything stands in files of mode 0600, replaced atomically, so that a power cut
leaves the old or the new, never half.
"""

import base64
import os
import ssl
import time
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from agent.errors import AgentError
from shoal.wire import envelope, signing
from shoal.wire.devices import EnrollAnswer
from shoal.wire.envelope import Message

_KEY: Final = "device.key"
_ENROLLED: Final = "enrolled.json"
_CERTIFICATE: Final = "device.pem"
_CA: Final = "ca.pem"
_REQUEST: Final = "device.csr"
_PEM_END: Final = "-----END CERTIFICATE-----"


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """What enrolment gave, and where.

    Attributes:
        renew_at: By this device's clock, seconds since 1970; 0 for at once.
    """

    device_id: str
    controller_url: str
    broker_url: str
    controller_keys: dict[str, str]
    certificate_expires_at: str = ""
    renew_at: float = 0.0
    session_floor: int = 0


class Identity:
    """The key and what belongs to it."""

    def __init__(self, state: Path, key: Ed25519PrivateKey) -> None:
        self._state = state
        self._key = key
        kept = self._read(_ENROLLED)
        self.enrolled = None if kept is None else msgspec.json.decode(kept, type=Enrolled)

    @classmethod
    def open(cls, state: Path) -> Self:
        """Load the key, making it on the first boot.

        Raises:
            AgentError: `identity.unreadable`.
        """
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = state / _KEY
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_atomically(path, pem)
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise AgentError("identity.unreadable", f"{path} is not a key; was it damaged?", is_final=True) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise AgentError("identity.unreadable", f"{path} is not an Ed25519 key.", is_final=True)
        return cls(state, key)

    @property
    def device_id(self) -> str:
        """The id that the controller gave.

        Raises:
            AgentError: `identity.not_enrolled`.
        """
        return self.known().device_id

    def known(self) -> Enrolled:
        """Give what enrolment gave.

        Raises:
            AgentError: `identity.not_enrolled`.
        """
        if self.enrolled is None:
            raise AgentError("identity.not_enrolled", "This device is not enrolled yet.")
        return self.enrolled

    def certificate_request(self) -> str:
        """Give a CSR for the key, PEM; it names nothing, since the controller gives the name. Made once and kept."""
        kept = self._read(_REQUEST)
        if kept is None:
            from cryptography import x509  # for enrolment alone; 2.4 MB that an idle agent does without

            request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self._key, None)
            kept = request.public_bytes(Encoding.PEM)
            self._write(_REQUEST, kept)
        return kept.decode()

    def keep(self, answer: EnrollAnswer, controller_url: str) -> None:
        """Keep what the controller answered; the file that says "enrolled" is written last."""
        self._write(_CA, answer.ca.encode())
        self._write(_CERTIFICATE, answer.certificate.encode())
        self.enrolled = Enrolled(
            device_id=answer.device_id,
            controller_url=controller_url,
            broker_url=answer.broker_url,
            controller_keys=answer.controller_keys,
            certificate_expires_at=answer.expires_at,
            renew_at=time.time() + answer.renew_after_s,
            session_floor=answer.session_floor,
        )
        self._write(_ENROLLED, msgspec.json.encode(self.enrolled))

    def is_renewal_due(self) -> bool:
        """Tell whether two thirds of the certificate's life have passed, by this device's clock."""
        return time.time() >= self.known().renew_at

    def controller_key(self, key_id: str) -> bytes | None:
        """Give a controller's public key by its id, None if it is not one that may command this device."""
        encoded = self.known().controller_keys.get(key_id)
        return None if encoded is None else base64.b64decode(encoded)

    def seal(self, message: Message, topic: str) -> bytes:
        """Put a message into an envelope, signed where its kind is a signed one."""
        return envelope.seal(message, topic=topic, key=self._key)

    def sign_request(self, method: str, path: str, at: int) -> dict[str, str]:
        """Give the headers that prove who makes an HTTP request."""
        signature = signing.sign(self._key, f"{method} {path} {at}", "")
        return {"Shoal-Device": self.device_id, "Shoal-At": str(at), "Shoal-Signature": signature}

    def ca_path(self) -> Path:
        """Give the file of the CA that this device trusts."""
        return self._state / _CA

    def ca(self) -> str:
        """Give the CA that this device trusts, PEM."""
        return self.ca_path().read_text()

    def client_tls(self) -> ssl.SSLContext:
        """Give the TLS settings for a broker that wants a certificate. Reads files."""
        context = trust(self.ca())
        context.load_cert_chain(self._state / _CERTIFICATE, self._state / _KEY)
        return context

    def _read(self, name: str) -> bytes | None:
        path = self._state / name
        return path.read_bytes() if path.exists() else None

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self._state / name, data)


def trust(ca: str) -> ssl.SSLContext:
    """Give TLS settings that trust one CA, the first in `ca`: its parents may have children that are not trusted."""
    context = ssl.create_default_context(cadata=first_of(ca))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def first_of(bundle: str) -> str:
    """Give the first certificate of a PEM bundle."""
    first, end, _ = bundle.partition(_PEM_END)
    return f"{first}{end}\n"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that after a power cut it is the old or the new one; mode 0600."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
