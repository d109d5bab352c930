"""The configuration of a Mosquitto that lets in whom this controller's CA knows, each to its own topics.

Written into one folder that Mosquitto is started with. Not here: MQTT, and what is changed while it runs
(`shoal broker sync`).
"""

import hashlib
import ipaddress
import os
import pwd
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from controller.errors import Conflict, Invalid
from controller.keys import Keys
from shoal import access_list
from shoal.wire.envelope import MAX_ENVELOPE_BYTES

CONFIG: Final = "mosquitto.conf"
_ACL: Final = "acl"
_CRL: Final = "crl.pem"
_DATA: Final = "data"
_FILES: Final = (CONFIG, _ACL, "ca.pem", "server.pem", "server.key", _CRL)
_MARK: Final = "# Written by `shoal broker config`; the rest has the sha256 "
_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_MAX_CONTROLLERS: Final = 100

_CONFIG_TEXT: Final = """\
per_listener_settings false
user {user}
pid_file {place}/data/mosquitto.pid

listener {port} {listen}
# 88 ms a small round without it.
set_tcp_nodelay true
# A dead connection is noticed after one and a half of these seconds, also that of a client which asks for more.
max_keepalive 300

# Who is who: the name in a certificate of the CA. Without the third line a device could take another one's session.
allow_anonymous false
require_certificate true
use_identity_as_username true
use_username_as_clientid true
tls_version tlsv1.2
cafile {place}/ca.pem
certfile {place}/server.pem
keyfile {place}/server.key
# It also shuts out what other CAs below an operator's root certify: for those there is no list here.
crlfile {place}/crl.pem
acl_file {place}/acl

# What is larger is not even read into memory, and its sender is disconnected. It is four times the largest envelope,
# because that ends in a circle of reconnecting and sending again, whereas a receiver refuses a large envelope by name.
max_packet_size {packet_bytes}
# What is kept for a controller that is away: the default of 1,000 lost 4,000 of 5,000 acknowledged messages in 3 s.
max_queued_messages 100000
max_inflight_messages 0

# Queued messages, subscriptions and retained documents live in memory, and all of it is written at each saving, whether
# it changed or not (10,000 documents of 4 KiB: 42 MB, and the broker stands still for 0.1 s). Not at every n-th change:
# a quiet fleet would not reach it for hours, a busy one all the time. An ordered stop saves; a kill or a power cut
# loses what was queued since the last saving. Devices give birth again after it and resynchronise.
persistence true
persistence_location {place}/data/
autosave_on_changes false
autosave_interval {autosave_s}
# Longer than any certificate lives: nobody comes back for such a session.
persistent_client_expiration 60d

log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""
_AUTOSAVE_S: Final = 10


@dataclass(frozen=True, kw_only=True)
class BrokerPlan:
    """What an operator decides about a broker.

    Attributes:
        hosts: Names and addresses by which devices and controllers reach it; they go into its certificate.
        listen: Address on which it listens.
        controllers: How many there may be: `controller-1` and so on.
        user: Who it runs as, if it is started as root.
        place: Where the folder will stand on the broker's machine.
    """

    hosts: Sequence[str]
    listen: str
    port: int
    controllers: int
    user: str
    place: Path


def write_config(folder: Path, plan: BrokerPlan, keys: Keys, *, is_forced: bool) -> list[Path]:
    """Write all that Mosquitto needs; what is there of ours is renewed, and whom it shuts out stays out.

    Args:
        is_forced: Overwrite what was not written here, or was changed since.

    Raises:
        Invalid: `broker.bad_host`, `broker.bad_plan`, `broker.unknown_user`.
        Conflict: `broker.foreign_files`.
        Unavailable: `keys.ca_expired`.
    """
    _check(plan)
    user = _user(plan)
    config = _marked(_config_text(plan))
    access = _marked(access_list.access_list(plan.controllers))
    if not is_forced:
        _require_own(folder)
    denied = _standing_denied(folder / _ACL)
    pair = keys.new_server_pair(plan.hosts)
    crl = _standing_crl(folder / _CRL, keys) or keys.empty_revocation_list(datetime.now(UTC))
    contents = {
        CONFIG: config.encode(),  # first: what is left by a kill is known as ours
        _ACL: access_list.with_denied(access, denied).encode(),
        "ca.pem": keys.ca_pem.encode(),
        _CRL: crl.encode(),
        "server.key": pair.key,
        "server.pem": pair.certificate,
    }
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    data_folder = folder / _DATA
    data_folder.mkdir(exist_ok=True, mode=0o700)
    if user is not None:
        _let_read(folder, user)
        os.chown(data_folder, user.pw_uid, user.pw_gid, follow_symlinks=False)
    for name, data in contents.items():
        _replace(folder / name, data, user)
    return [folder / name for name in contents]


def _config_text(plan: BrokerPlan) -> str:
    return _CONFIG_TEXT.format(
        user=plan.user,
        place=plan.place,
        port=plan.port,
        listen=plan.listen,
        packet_bytes=4 * MAX_ENVELOPE_BYTES,
        autosave_s=_AUTOSAVE_S,
    )


def _check(plan: BrokerPlan) -> None:
    for host in plan.hosts:
        if not _is_address(host) and not (len(host) <= 253 and _HOST.fullmatch(host)):
            raise Invalid("broker.bad_host", f"{host!r} is neither a host name nor an address.")
    if not plan.hosts or not _is_address(plan.listen):
        raise Invalid("broker.bad_plan", "Give at least one --host, and an address of this machine to --listen.")
    if not 1 <= plan.port <= 65535 or not 1 <= plan.controllers <= _MAX_CONTROLLERS:
        message = f"--port is from 1 to 65535, and --controllers from 1 to {_MAX_CONTROLLERS}."
        raise Invalid("broker.bad_plan", message)
    if any(not part.isprintable() for part in (str(plan.place), plan.user)) or not plan.user:
        raise Invalid(
            "broker.bad_plan", "The folder's path and the user's name must be printable: they go into a file."
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _user(plan: BrokerPlan) -> pwd.struct_passwd | None:
    """Give who must be able to read the files: Mosquitto does so after it has given up root. None: who writes them."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(plan.user)
    except KeyError as error:
        message = f"This machine has no user {plan.user}: install Mosquitto first, or give its user with --user."
        raise Invalid("broker.unknown_user", message) from error


def _require_own(folder: Path) -> None:
    is_known = _is_as_written(folder / CONFIG)
    foreign = [name for name in _FILES if (folder / name).exists() and not is_known]
    if is_known and (folder / _ACL).exists() and not _is_as_written(folder / _ACL):
        foreign = [_ACL]
    if foreign:
        message = f"{folder} holds files that were not written here, or were changed since ({', '.join(foreign)}): "
        raise Conflict("broker.foreign_files", f"{message}give another folder, or overwrite them with --force.")


def _marked(text: str) -> str:
    return f"{_MARK}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _is_as_written(path: Path) -> bool:
    first, _, text = _read(path).partition("\n")
    try:
        text = access_list.with_denied(text, []) if path.name == _ACL else text
    except ValueError:
        return False
    return _marked(text).startswith(f"{first}\n") and first.startswith(_MARK)


def _standing_denied(path: Path) -> list[str]:
    try:
        return access_list.denied_in(_read(path))
    except ValueError:
        return []  # there is none, or it is a foreign one, which --force gives up


def _standing_crl(path: Path, keys: Keys) -> str:
    """Give the list that stands there, if the CA has signed it and it is still good."""
    issuer = x509.load_pem_x509_certificate(keys.ca_pem.encode())
    try:
        crl = x509.load_pem_x509_crl(path.read_bytes())
        is_ours = crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
        return ""
    ends = crl.next_update_utc
    return path.read_text() if is_ours and ends is not None and ends > datetime.now(UTC) + timedelta(days=1) else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _replace(path: Path, data: bytes, user: pwd.struct_passwd | None) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if user is not None:
        _let_read(draft, user)
    draft.replace(path)


def _let_read(path: Path, user: pwd.struct_passwd) -> None:
    """Let Mosquitto read what stays root's: who could write its configuration could have it started as root."""
    os.chown(path, os.geteuid(), user.pw_gid)
    path.chmod(0o750 if path.is_dir() else 0o640)
