"""Who is logged in. The browser holds a random cookie; the bearer token that it stands for never leaves this memory.

Nothing is written to disk, so a restart of the dashboard logs everybody out. Bounded: beyond the limit the session
that was used longest ago ends.
"""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from shoal.client import Client
from shoal.schemas.auth import LoginAnswer

_LIMIT: Final = 1000


@dataclass(kw_only=True, eq=False)
class Session:
    """One login.

    Attributes:
        client: The controller as this person sees it. Not closed when the session ends, as a page may be in the
            middle of a request; its sockets go with the last page.
        is_open: False as soon as the person logged out or the token expired.
    """

    client: Client
    username: str
    role: str
    token_id: str
    expires_at: datetime | None
    is_open: bool = field(default=True)


class Sessions:
    """All logins of this process. Thread-safe."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC), limit: int = _LIMIT) -> None:
        self._now = now
        self._limit = limit
        self._lock = threading.Lock()
        # By the cookie's digest: a look-up by the secret itself would tell by its duration how much was guessed.
        self._open: OrderedDict[str, Session] = OrderedDict()

    def begin(self, client: Client, login: LoginAnswer) -> str:
        """Open a session; gives the secret for the browser's cookie, which is kept as its digest only."""
        secret = secrets.token_urlsafe(32)
        session = Session(
            client=client,
            username=login.username,
            role=login.role,
            token_id=login.id,
            expires_at=login.expires_at,
        )
        with self._lock:
            self._open[_digest(secret)] = session
            while len(self._open) > self._limit:
                self._open.popitem(last=False)[1].is_open = False
        return secret

    def of(self, secret: str | None) -> Session | None:
        """Give the session that a cookie stands for, None where it stands for none any more."""
        if not secret:
            return None
        key = _digest(secret)
        with self._lock:
            session = self._open.get(key)
            if session is None:
                return None
            if session.expires_at is not None and session.expires_at <= self._now():
                self._open.pop(key).is_open = False
                return None
            self._open.move_to_end(key)
            return session

    def end(self, session: Session) -> None:
        """Forget a session; ending one twice changes nothing."""
        with self._lock:
            session.is_open = False
            for key, kept in list(self._open.items()):
                if kept is session:
                    del self._open[key]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
