"""The controller's secrets and what they issue: its CA, its signing key, the key of signed links.

Files in `SHOAL_STATE`, 0600, made at the first start; never in the database, never logged. Ed25519 throughout.
Not here: who gets a certificate (`devices.enrollment`).
"""

import base64
import contextlib
import hashlib
import ipaddress
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.errors import Invalid, Unavailable
from shoal.wire import signing

_BACKDATED: Final = timedelta(hours=1)  # devices' clocks run behind
_CA_LIFETIME: Final = timedelta(days=3650)
_SERVER_LIFETIME: Final = timedelta(days=397)  # issued anew at each start


@dataclass(frozen=True, kw_only=True)
class DeviceCertificate:
    """What a device gets: PEM, its end, and the 32 bytes of the key that it certifies."""

    pem: str
    expires_at: datetime
    public_key: bytes


class Keys:
    """The opened secrets."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._ca_key = _load_or_make_key(state / "ca.key")
        self._ca = _load_or_make_ca(state / "ca.pem", self._ca_key)
        self.signing_key = _load_or_make_key(state / "signing.key")
        self.url_key = open_url_key(state)

    @classmethod
    def open(cls, state: Path) -> Self:
        """Load the secrets from `state`, making those that are missing."""
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(state)

    @property
    def ca_pem(self) -> str:
        """The CA's certificate."""
        return self._ca.public_bytes(Encoding.PEM).decode()

    @property
    def ca_path(self) -> Path:
        """Where the CA's certificate stands."""
        return self._state / "ca.pem"

    @property
    def ca_digest(self) -> str:
        """The sha256 of the CA's certificate (DER), which enrolment tokens carry."""
        return _digest_of(self._ca)

    @property
    def controller_keys(self) -> dict[str, str]:
        """The public keys that may sign what goes down: key id to base64."""
        raw = signing.raw_public_key(self.signing_key.public_key())
        return {signing.key_id_of(raw): base64.b64encode(raw).decode()}

    def issue_device_certificate(self, csr_pem: str, device_id: str, days: int, now: datetime) -> DeviceCertificate:
        """Certify the key in a CSR as `device_id`; the CSR's subject and extensions are ignored.

        Raises:
            Invalid: `csr.invalid`.
        """
        key = public_key_of_csr(csr_pem)
        expires_at = (now + timedelta(days=days)).replace(microsecond=0)
        certificate = self._issue(key, device_id, now=now, until=expires_at, is_server=False)
        return DeviceCertificate(
            pem=certificate.public_bytes(Encoding.PEM).decode(),
            expires_at=expires_at,
            public_key=signing.raw_public_key(key),
        )

    def issue_server_certificate(self, names: list[str]) -> tuple[Path, Path]:
        """Make a TLS server's certificate and key for these host names and addresses; gives both paths."""
        return self._issue_files("server", names[0], names)

    def issue_controller_certificate(self, name: str) -> tuple[Path, Path]:
        """Make the certificate and key by which a broker knows a controller; gives both paths."""
        return self._issue_files(name, name, [])

    def _issue_files(self, stem: str, common_name: str, names: list[str]) -> tuple[Path, Path]:
        key = Ed25519PrivateKey.generate()
        now = datetime.now(UTC)
        certificate = self._issue(
            key.public_key(), common_name, now=now, until=now + _SERVER_LIFETIME, is_server=bool(names), names=names
        )
        certificate_path, key_path = self._state / f"{stem}.pem", self._state / f"{stem}.key"
        _write_secret(key_path, _private_pem(key))
        _write_secret(certificate_path, certificate.public_bytes(Encoding.PEM))
        return certificate_path, key_path

    def _issue(
        self,
        key: Ed25519PublicKey,
        common_name: str,
        *,
        now: datetime,
        until: datetime,
        is_server: bool,
        names: list[str] | None = None,
    ) -> x509.Certificate:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if is_server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self._ca.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        return builder.sign(self._ca_key, None)


def open_url_key(state: Path) -> bytes:
    """Load the key of signed links, all that the API needs of the secrets; made where it is missing."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _load_or_make(state / "url.key", lambda: secrets.token_bytes(32))


def read_ca_digest(state: Path) -> str:
    """Give what enrolment tokens carry, for a process that does not hold the CA's key.

    Raises:
        Unavailable: `keys.no_ca`.
    """
    try:
        pem = (state / "ca.pem").read_bytes()
    except FileNotFoundError as error:
        raise Unavailable(
            "keys.no_ca", f"{state / 'ca.pem'} is missing: start the gateway once, or put the CA's certificate there."
        ) from error
    return _digest_of(x509.load_pem_x509_certificate(pem))


def public_key_of_csr(csr_pem: str) -> Ed25519PublicKey:
    """Give the key that a CSR proves to hold.

    Raises:
        Invalid: `csr.invalid` for what does not parse, is not signed by its key, or is not Ed25519.
    """
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        if not csr.is_signature_valid or not isinstance(key, Ed25519PublicKey):
            raise Invalid("csr.invalid", "The CSR must be signed by its own Ed25519 key.")
    except (ValueError, InvalidSignature) as error:
        raise Invalid("csr.invalid", "The certificate signing request does not parse.") from error
    return key


def _digest_of(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _load_or_make_ca(path: Path, key: Ed25519PrivateKey) -> x509.Certificate:
    def make() -> bytes:
        now = datetime.now(UTC)
        name = _name("Shoal CA")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + _CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_CA_USAGE, critical=True)
            .sign(key, None)
        )
        return certificate.public_bytes(Encoding.PEM)

    return x509.load_pem_x509_certificate(_load_or_make(path, make))


_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _load_or_make_key(path: Path) -> Ed25519PrivateKey:
    pem = _load_or_make(path, lambda: _private_pem(Ed25519PrivateKey.generate()))
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid("keys.not_ed25519", f"{path} is not an Ed25519 key.")
    return key


def _load_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """Read a file; where it is missing, make it, so that of two processes that try, one wins and both read the same."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        _write_secret(draft, make())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()


def _write_secret(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
