"""Object stores to which the controller sends a device for its bytes, by links that are good for a while.

A link is all that is shown there: no signature of the device, no CA of the controller's. What comes is trusted for its
digest alone, so a store can withhold bytes but not forge them. Its certificate is checked all the same, and without TLS
a link is followed only on this machine, or where the settings say so: whoever reads along sees the model.
"""

import logging
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from agent.errors import AgentError

if TYPE_CHECKING:
    import urllib3

_log: Final = logging.getLogger(__name__)
_CONNECT_S: Final = 10
_READ_S: Final = 60


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What is trusted of a store.

    Attributes:
        ca: PEM file of a CA that is trusted beside the system's; empty: none.
        without_tls: Whether a store may be asked without TLS.
    """

    ca: str = ""
    without_tls: bool = False


SYSTEM_TRUST: Final = Trust()


def follow(link: str, start: int, trust: Trust) -> "urllib3.BaseHTTPResponse | None":
    """Ask a store for the bytes from `start` on.

    Returns:
        The answer, unread; None where the link leads nowhere: expired, forbidden, unreachable. The log says why.

    Raises:
        AgentError: `settings.invalid`: the CA's file cannot be used.
    """
    import urllib3

    parts = urlsplit(link)
    where = f"{parts.scheme}://{parts.netloc}"  # never the link itself: it opens the bytes to whoever reads the log
    if parts.scheme != "https" and not (parts.scheme == "http" and (trust.without_tls or _is_here(parts.hostname))):
        _log.warning("the store at %s is not asked without TLS; see SHOAL_AGENT_BLOBS_HTTP", where)
        return None
    context = _context(trust) if parts.scheme == "https" else None
    timeout = urllib3.Timeout(connect=_CONNECT_S, read=_READ_S)
    pool = urllib3.PoolManager(ssl_context=context, timeout=timeout, retries=False)
    try:
        response = pool.request(
            "GET", link, headers={"Range": f"bytes={start}-"}, preload_content=False, redirect=False
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        _log.warning("the store at %s does not answer: %s", where, type(error).__name__)
        return None
    if response.status == 206 or (response.status == 200 and not start):
        return response
    _log.warning("the store at %s answers %d to a link", where, response.status)
    response.close()
    return None


def _context(trust: Trust) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if trust.ca:
        try:
            context.load_verify_locations(trust.ca)
        except OSError as error:  # SSLError is one
            message = f"SHOAL_AGENT_BLOBS_CA: {trust.ca} is no readable PEM file ({error})."
            raise AgentError("settings.invalid", message, is_final=True) from error
    return context


def _is_here(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
