"""One post to one webhook, over HTTP. The only user of urllib3 here.

An operator may name any URL, also one inside the controller's own network, as receivers often stand beside it. Never
called are link-local addresses: there cloud machines keep their credentials. The address is looked up once, checked,
and then called by its number, so that a name cannot mean another one in between; redirects are not followed.
"""

import socket
import ssl
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import urllib3

from controller.errors import Invalid, Unavailable
from controller.webhooks.matching import sign

_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 10.0
_MOST_ANSWER_BYTES: Final = 4096  # read so that the receiver is not cut off in the middle; nothing is kept of it
_FORBIDDEN: Final = tuple(
    ip_network(one) for one in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32")
)
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Post:
    """What is posted.

    Attributes:
        delivery_id: The same however often it is tried: a receiver knows by it what it has already.
    """

    url: str
    secret: str
    event: str
    delivery_id: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a post went.

    Attributes:
        code: The status that was answered; None where nobody answered.
        error: Empty where the receiver took it.
    """

    code: int | None
    error: str


def check_url(url: str) -> None:
    """Refuse a URL that can never be called.

    Raises:
        Invalid: `webhook.bad_url`, `webhook.forbidden_address`.
    """
    host, _, _ = _parts(url)
    try:
        address = ip_address(host)
    except ValueError:
        return  # a name, which is looked up when it is called
    _check_address(str(address))


def post(wanted: Post) -> Outcome:
    """Post once; never raises for what the receiver or the network does."""
    body = wanted.body.encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "shoal",
        "X-Shoal-Event": wanted.event,
        "X-Shoal-Delivery": wanted.delivery_id,
        "X-Shoal-Signature": sign(wanted.secret, body),
    }
    try:
        return _send(wanted.url, body, headers)
    except (Invalid, Unavailable) as error:
        return Outcome(code=None, error=f"{error.code}: {error.message}"[:500])
    except (urllib3.exceptions.HTTPError, ssl.SSLError, OSError, ValueError) as error:
        return Outcome(code=None, error=f"webhook.unreachable: {type(error).__name__}")


def _send(url: str, body: bytes, headers: dict[str, str]) -> Outcome:
    host, port, target = _parts(url)
    address = _look_up(host, port)
    timeout = urllib3.Timeout(connect=_CONNECT_S, read=_ANSWER_S)
    is_tls = url.startswith("https")
    pool: urllib3.HTTPConnectionPool
    if is_tls:
        pool = urllib3.HTTPSConnectionPool(
            address, port, timeout=timeout, retries=False, server_hostname=host, assert_hostname=host
        )
    else:
        pool = urllib3.HTTPConnectionPool(address, port, timeout=timeout, retries=False)
    shown = f"[{host}]" if ":" in host else host
    named = shown if port == _PORTS["https" if is_tls else "http"] else f"{shown}:{port}"
    with pool:
        answer = pool.urlopen(
            "POST", target, body, {**headers, "Host": named}, redirect=False, preload_content=False, retries=False
        )
        try:
            _read_some(answer)
        finally:
            answer.close()
    is_taken = 200 <= answer.status < 300
    return Outcome(code=answer.status, error="" if is_taken else f"webhook.refused: it answered {answer.status}.")


def _read_some(answer: urllib3.BaseHTTPResponse) -> None:
    until = time.monotonic() + _ANSWER_S
    left = _MOST_ANSWER_BYTES
    while left > 0 and time.monotonic() < until:
        chunk = answer.read(min(left, 512))
        if not chunk:
            return
        left -= len(chunk)


def _parts(url: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Invalid("webhook.bad_url", "A webhook's URL is http[s]://host[:port]/path.") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or not url.isprintable():
        raise Invalid("webhook.bad_url", "A webhook's URL is http[s]://host[:port]/path, without a user in it.")
    target = parts.path or "/"
    return parts.hostname, port or _PORTS[parts.scheme], f"{target}?{parts.query}" if parts.query else target


def _look_up(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable("webhook.unknown_host", f"The host {host[:200]} is not known.") from error
    addresses = [str(address[0]) for *_, address in found]
    for address in addresses:
        _check_address(address)
    return addresses[0]


def _check_address(text: str) -> None:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in _FORBIDDEN):
        raise Invalid("webhook.forbidden_address", f"{address} is an address where machines keep their credentials.")
