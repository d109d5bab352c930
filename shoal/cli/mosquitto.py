"""The folder that a Mosquitto was started with (`shoal broker config` wrote it), as `shoal broker sync` keeps it.

Fail closed: a list that the folder's CA did not sign, that is not good now, or older than the one that stands there
changes nothing, and neither does a name that is no device's. Nothing here speaks to the controller.
"""

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from shoal import access_list
from shoal.cli.errors import CliError
from shoal.schemas.broker import BrokerAccess
from shoal.wire import topics

_CONFIG: Final = "mosquitto.conf"
_ACL: Final = "acl"
_CRL: Final = "crl.pem"
_CA: Final = "ca.pem"
_CERTIFICATE: Final = "server.pem"
_TOLD: Final = ".told"
_READ_AGAIN: Final = (_ACL, _CRL, _CERTIFICATE, "server.key")  # what Mosquitto reads again at SIGHUP
_PROGRAM: Final = "mosquitto"
_MAX_LIST_CHARS: Final = 16 * 1024 * 1024
_WARNED_BEFORE: Final = timedelta(days=30)
# Mosquitto does not say when it has read its files; it does so when it has done with the messages at hand.
_RELOAD_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """What following a revision changed.

    Attributes:
        revoked: How many certificates the list revokes now.
        newly_denied, newly_let_in: Ids of devices.
        needs_restart: The clock of who signs was set back: a running Mosquitto goes on with the list before.
    """

    revision: int
    revoked: int
    denied: list[str]
    newly_denied: list[str]
    newly_let_in: list[str]
    is_list_new: bool
    needs_restart: bool


class MosquittoFolder:
    """One such folder.

    Raises:
        CliError: `broker.folder_unusable`, from any of its methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def follow(self, access: BrokerAccess, now: datetime, *, accepts_older: bool) -> Change:
        """Let the files say what a revision says; the broker is to be told afterwards.

        Raises:
            CliError: `broker.list_malformed`, `broker.list_forged`, `broker.list_not_good_now`, `broker.list_older`,
                `broker.bad_device_id`, `broker.access_list_damaged`.
        """
        fresh = self._verified(access, now)
        standing_pem = self._read(_CRL)
        standing = _parse(standing_pem)
        number = _number(standing)
        is_list_new = access.crl != standing_pem
        if is_list_new and access.revision <= number and not accepts_older:
            message = (
                f"The controller's revocation list is number {access.revision}, but {self._path / _CRL} is number "
            )
            message += f"{number} already: somebody keeps an old one up, or the controller's database is a restored "
            raise CliError("broker.list_older", f"{message}backup (then --accept-older, once).")
        old_text = self._read(_ACL)
        new_text, before = self._access_list(old_text, access.denied)
        if new_text != old_text:
            self._replace(_ACL, new_text)
        if is_list_new:
            self._replace(_CRL, access.crl)
        return Change(
            revision=access.revision,
            revoked=len(fresh),
            denied=sorted(access.denied),
            newly_denied=sorted(set(access.denied) - before),
            newly_let_in=sorted(before - set(access.denied)),
            is_list_new=is_list_new,
            needs_restart=is_list_new and fresh.last_update_utc <= standing.last_update_utc,
        )

    def must_be_told(self) -> bool:
        """Tell whether the files differ from those that the broker was told of last; also after a kill in between."""
        told = self._path / _TOLD
        return not told.exists() or told.read_text() != self._digest()

    def tell(self, process_id: int) -> None:
        """Make the broker read its files again, and give it the time to do so.

        Raises:
            CliError: `broker.not_running`, `broker.not_permitted`.
        """
        digest = self._digest()
        _require_mosquitto(process_id)
        try:
            os.kill(process_id, signal.SIGHUP)
        except ProcessLookupError as error:
            raise _not_running(process_id) from error
        except PermissionError as error:
            message = f"SIGHUP to Mosquitto (process {process_id}) is not permitted: run this as root or as its user."
            raise CliError("broker.not_permitted", message) from error
        time.sleep(_RELOAD_S)
        self._replace(_TOLD, digest)

    def process_id(self, pid_file: Path | None) -> int:
        """Read the broker's process id from a file, or from the one that its configuration names.

        Raises:
            CliError: `broker.no_process_id`.
        """
        path = pid_file or self._configured_pid_file()
        try:
            with path.open() as file:
                return int(file.read(32))
        except (OSError, ValueError) as error:
            message = f"{path} does not say Mosquitto's process id: is it running? Or give --pid or --pid-file."
            raise CliError("broker.no_process_id", message) from error

    def warnings(self, now: datetime) -> list[str]:
        """Say what ends soon."""
        found: list[str] = []
        certificate = self._certificate(_CERTIFICATE)
        if (left := certificate.not_valid_after_utc - now) < _WARNED_BEFORE:
            found.append(f"The broker's certificate {_ends(left)}: run `shoal broker config` again.")
        ends = _parse(self._read(_CRL)).next_update_utc
        if ends is not None and ends - now < _WARNED_BEFORE:
            found.append(f"The revocation list {_ends(ends - now)}, and then nobody is let in: is the gateway running?")
        return found

    def _verified(self, access: BrokerAccess, now: datetime) -> x509.CertificateRevocationList:
        if len(access.crl) > _MAX_LIST_CHARS:
            raise CliError("broker.list_malformed", "The controller's revocation list is larger than 16 MiB.")
        crl = _parse(access.crl)
        ca = self._certificate(_CA)  # the first: the one that issues
        try:
            is_signed = crl.issuer == ca.subject and crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
        except (TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm):
            is_signed = False
        if not is_signed:
            message = (
                f"The controller's revocation list is not signed by the CA in {self._path / _CA}: nothing is changed."
            )
            raise CliError("broker.list_forged", message)
        if _number(crl) != access.revision:
            raise CliError("broker.list_malformed", "The controller's revocation list is not that of its revision.")
        if crl.next_update_utc is None or not crl.last_update_utc <= now < crl.next_update_utc:
            message = "The controller's revocation list is not good now, and with it Mosquitto would let nobody in: "
            raise CliError("broker.list_not_good_now", f"{message}compare both clocks, and look at the gateway.")
        return crl

    def _access_list(self, text: str, denied: list[str]) -> tuple[str, set[str]]:
        if bad := [device_id for device_id in denied if not topics.is_device_id(device_id)]:
            message = f"The controller wants {bad[0][:40]!r} denied, which is no device's id: nothing is changed."
            raise CliError("broker.bad_device_id", message)
        try:
            return access_list.with_denied(text, denied), set(access_list.denied_in(text))
        except ValueError as error:
            message = f"In {self._path / _ACL} {error}: run `shoal broker config` again."
            raise CliError("broker.access_list_damaged", message) from error

    def _configured_pid_file(self) -> Path:
        for line in self._read(_CONFIG).splitlines():
            name, _, value = line.strip().partition(" ")
            if name == "pid_file":
                return Path(value.strip())
        raise CliError("broker.no_process_id", f"{self._path / _CONFIG} names no pid_file: give --pid or --pid-file.")

    def _certificate(self, name: str) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(self._read(name).encode())
        except ValueError as error:
            raise CliError("broker.folder_unusable", f"{self._path / name} is no certificate.") from error

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name in _READ_AGAIN:
            digest.update(hashlib.sha256(self._read(name).encode()).digest())
        return digest.hexdigest()

    def _read(self, name: str) -> str:
        try:
            return (self._path / name).read_text()
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"{self._path / name} is missing: `shoal broker config` writes the folder."
            raise CliError("broker.folder_unusable", message) from error

    def _replace(self, name: str, text: str) -> None:
        """Replace a file as a whole; the new one belongs to whom the access list does: Mosquitto reads it."""
        like = (self._path / _ACL).stat()
        draft = self._path / f".{name}.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), like.st_mode & 0o777)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path / name)


def _parse(crl_pem: str) -> x509.CertificateRevocationList:
    try:
        return x509.load_pem_x509_crl(crl_pem.encode())
    except ValueError as error:
        raise CliError("broker.list_malformed", "The revocation list does not parse.") from error


def _number(crl: x509.CertificateRevocationList) -> int:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, ValueError) as error:
        raise CliError("broker.list_malformed", "The revocation list has no number.") from error


def _require_mosquitto(process_id: int) -> None:
    """SIGHUP ends most programs, and the number in a file that was left behind may be another one's by now."""
    if not Path("/proc/self/comm").exists():
        return
    try:
        name = Path(f"/proc/{process_id}/comm").read_text().strip()
    except OSError as error:
        raise _not_running(process_id) from error
    if name != _PROGRAM:
        raise CliError("broker.not_running", f"Process {process_id} is {name!r} and not Mosquitto: give its --pid.")


def _not_running(process_id: int) -> CliError:
    message = f"There is no process {process_id}: is Mosquitto running? It reads the new files when it starts."
    return CliError("broker.not_running", message)


def _ends(left: timedelta) -> str:
    return f"ends in {left.days} days" if left > timedelta(0) else "has ended"
