"""Which events a webhook asks for, when a post is tried again, and how it is signed. Pure."""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from typing import Final

GIVEN_UP_AFTER: Final = timedelta(days=1)
_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 3600.0


class DeliveryState(StrEnum):
    """Where an event on its way stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


def is_wanted(event: str, names: Iterable[str]) -> bool:
    """Tell whether one of some names, or beginnings that end with `*`, means an event.

    >>> is_wanted("alert.fired", ["device.offline", "alert.*"]), is_wanted("alerts.fired", ["alert.*"])
    (True, False)
    """
    return any(event.startswith(name[:-1]) if name.endswith("*") else event == name for name in names)


def pause(attempts: int) -> timedelta:
    """Give how long to wait after so many attempts that failed.

    >>> [pause(attempts).total_seconds() for attempts in (1, 2, 20)]
    [5.0, 10.0, 3600.0]
    """
    return timedelta(seconds=min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempts - 1, 30)))


def sign(secret: str, body: bytes) -> str:
    """Give the value of `X-Shoal-Signature`.

    >>> sign("key", b"{}")[:14]
    'sha256=a777724'
    """
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
