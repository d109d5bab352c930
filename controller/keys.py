"""The controller's secrets and what they issue: its CA, its signing key, the key of signed links.

Files in `SHOAL_STATE`, 0600, made at the first start; never in the database, never logged. `ca.key` and `ca.pem` may be
an operator's own; what they must be is checked at the start (`certificates`). Device and signing keys are Ed25519.
Not here: who gets a certificate (`devices.enrollment`).
"""

import base64
import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from controller.certificates import MAX_BUNDLE_BYTES, Authority, load_authority_key, public_key_of_csr
from controller.errors import Invalid, Unavailable
from shoal.wire import signing

__all__ = ["DeviceCertificate", "IssuedPair", "Keys", "open_url_key", "public_key_of_csr", "read_ca_digest"]

_SERVER_LIFETIME: Final = timedelta(days=397)  # issued anew at each start
_TAKEOVER_LIFETIME: Final = timedelta(minutes=5)
_TAKEOVER_PREFIX: Final = ".takeover-"
_LIST_BACKDATED: Final = timedelta(minutes=10)  # for a list of the future a broker refuses everybody


@dataclass(frozen=True, kw_only=True)
class DeviceCertificate:
    """What a device gets: PEM, its end, and the 32 bytes of the key that it certifies.

    Attributes:
        serial: Hexadecimal, lower case; what `Keys.sign_revocation_list` takes.
    """

    pem: str
    serial: str
    expires_at: datetime
    public_key: bytes


@dataclass(frozen=True)
class IssuedPair:
    """A certificate, with the chain below the root, and its key: PEM."""

    certificate: bytes
    key: bytes


class Keys:
    """The opened secrets."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._authority = _load_or_make_authority(state)
        self._listed_at = datetime.min.replace(tzinfo=UTC)
        self.signing_key = _load_or_make_signing_key(state / "signing.key")
        self.url_key = open_url_key(state)

    @classmethod
    def open(cls, state: Path) -> Self:
        """Load the secrets from `state`, making those that are missing.

        Raises:
            Invalid: `keys.unsupported`, `keys.ca_mismatch`, `keys.not_a_ca`, `keys.ca_expired`,
                `keys.chain_incomplete`, `keys.not_ed25519`.
        """
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_old_takeovers(state)
        return cls(state)

    @property
    def ca_pem(self) -> str:
        """The CA's certificate, and those of its parents up to the root."""
        return self._authority.bundle_pem.decode()

    @property
    def ca_path(self) -> Path:
        """Where these stand."""
        return self._state / "ca.pem"

    @property
    def ca_digest(self) -> str:
        """The sha256 of the issuing CA's certificate (DER), which enrolment tokens carry."""
        return self._authority.digest

    @property
    def controller_keys(self) -> dict[str, str]:
        """The public keys that may sign what goes down: key id to base64."""
        raw = signing.raw_public_key(self.signing_key.public_key())
        return {signing.key_id_of(raw): base64.b64encode(raw).decode()}

    def issue_device_certificate(
        self, csr_pem: str, device_id: str, lifetime: timedelta, now: datetime
    ) -> DeviceCertificate:
        """Certify the key in a CSR as `device_id`; the CSR's subject and extensions are ignored.

        It ends with the CA at the latest.

        Raises:
            Invalid: `csr.invalid`.
            Unavailable: `keys.ca_expired`.
        """
        key = public_key_of_csr(csr_pem)
        certificate = self._authority.issue(key, device_id, now=now, lifetime=lifetime, server_names=())
        return DeviceCertificate(
            pem=certificate.public_bytes(Encoding.PEM).decode(),
            serial=f"{certificate.serial_number:x}",
            expires_at=certificate.not_valid_after_utc,
            public_key=signing.raw_public_key(key),
        )

    def new_server_pair(self, names: Sequence[str]) -> IssuedPair:
        """Make a TLS server's certificate and key for these host names and addresses; kept nowhere.

        Raises:
            Unavailable: `keys.ca_expired`.
        """
        return self._new_pair(names[0], _SERVER_LIFETIME, datetime.now(UTC), names)

    def issue_server_certificate(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Make a TLS server's certificate and key and keep them in `state`; gives both paths."""
        return _write_pair(self._state, "server", self.new_server_pair(names))

    def issue_controller_certificate(self, name: str) -> tuple[Path, Path]:
        """Make the certificate and key by which a broker knows a controller; gives both paths."""
        return _write_pair(self._state, name, self._new_pair(name, _SERVER_LIFETIME, datetime.now(UTC)))

    @contextlib.contextmanager
    def takeover_certificate(self, device_id: str, now: datetime) -> Iterator[tuple[Path, Path]]:
        """Give a client certificate of a device's name, of a fresh key and good for five minutes, and its key.

        Whoever connects to a broker with it ends the device's session. Both files are gone afterwards.

        Raises:
            Unavailable: `keys.ca_expired`.
        """
        folder = Path(tempfile.mkdtemp(prefix=_TAKEOVER_PREFIX, dir=self._state))
        try:
            yield _write_pair(folder, device_id, self._new_pair(device_id, _TAKEOVER_LIFETIME, now))
        finally:
            shutil.rmtree(folder)

    def sign_revocation_list(self, serials: Sequence[tuple[str, datetime]], number: int, now: datetime) -> str:
        """Sign the list of revoked certificates, PEM.

        Args:
            serials: As `DeviceCertificate.serial` says them, and when each was revoked.
            number: Grows with each list.
        """
        # A broker that is told of a new list keeps the old one as well, and OpenSSL follows the one that was made
        # later, by whole seconds: two lists of one second would leave the old one in force.
        earliest = self._listed_at + timedelta(seconds=1)
        self._listed_at = max(now.replace(microsecond=0) - _LIST_BACKDATED, earliest)
        return self._authority.revoke(serials, number=number, made_at=self._listed_at, now=now)

    def empty_revocation_list(self, now: datetime) -> str:
        """Sign a list, number 0, that revokes nothing and is older than any other: for a broker's first start."""
        begin = self._authority.chain[0].not_valid_before_utc
        return self._authority.revoke([], number=0, made_at=begin, now=now)

    def _new_pair(self, name: str, lifetime: timedelta, now: datetime, server_names: Sequence[str] = ()) -> IssuedPair:
        key = Ed25519PrivateKey.generate()
        certificate = self._authority.issue(
            key.public_key(), name, now=now, lifetime=lifetime, server_names=server_names
        )
        return IssuedPair(certificate.public_bytes(Encoding.PEM) + self._authority.below_root_pem, _private_pem(key))


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
    certificate = x509.load_pem_x509_certificate(pem)  # the first: the CA that issues
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _forget_old_takeovers(state: Path) -> None:
    """Remove what a kill has left; another process may be using a younger one."""
    for folder in state.glob(f"{_TAKEOVER_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _TAKEOVER_LIFETIME.total_seconds():
                shutil.rmtree(folder)


def _load_or_make_authority(state: Path) -> Authority:
    certificate_path, key_path = state / "ca.pem", state / "ca.key"
    if certificate_path.exists() and not key_path.exists():  # a new key would be no match
        message = f"{certificate_path} is there without its key: put the key of its first certificate into {key_path}."
        raise Invalid("keys.ca_mismatch", message)
    pem = _load_or_make(key_path, lambda: _private_pem(Ed25519PrivateKey.generate()))
    key = load_authority_key(pem, str(key_path))
    now = datetime.now(UTC)
    bundle = _load_or_make(certificate_path, lambda: Authority.own(key, now).bundle_pem, MAX_BUNDLE_BYTES + 1)
    return Authority.open(key, bundle, place=str(certificate_path), now=now)


def _load_or_make_signing_key(path: Path) -> Ed25519PrivateKey:
    pem = _load_or_make(path, lambda: _private_pem(Ed25519PrivateKey.generate()))
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid("keys.not_ed25519", f"{path} is not an Ed25519 key.")
    return key


def _load_or_make(path: Path, make: Callable[[], bytes], max_bytes: int = -1) -> bytes:
    """Read a file; where it is missing, make it, so that of two processes that try, one wins and both read the same."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        _write_secret(draft, make())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    with path.open("rb") as file:
        return file.read(max_bytes)


def _write_pair(folder: Path, stem: str, pair: IssuedPair) -> tuple[Path, Path]:
    certificate_path, key_path = folder / f"{stem}.pem", folder / f"{stem}.key"
    _write_secret(key_path, pair.key)
    _write_secret(certificate_path, pair.certificate)
    return certificate_path, key_path


def _write_secret(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
