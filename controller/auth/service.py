"""Users, their passwords and their bearer tokens. Secrets are kept as hashes and never logged.

Not here: what a role may do (`permissions`), and how a token travels (`api.deps`).
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller.auth.permissions import Role
from controller.auth.tables import TokenRow, UserRow
from controller.db import utc_now
from controller.errors import Forbidden, NotFound

FIRST_USER: Final = "admin"
_HASHER: Final = PasswordHasher()
# Checked where no such user exists, so that the time of an answer does not tell names.
_NOBODY: Final = _HASHER.hash(secrets.token_hex(16))


class NotLoggedIn(Forbidden):
    """Who calls is not known; logging in may help."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls, as a token proves it."""

    user_id: str
    name: str
    role: Role
    token_id: str


def make_first_user(session: Session) -> str | None:
    """Make the first administrator; gives its password, None where there are users already."""
    if session.scalar(select(func.count()).select_from(UserRow)):
        return None
    password = secrets.token_urlsafe(12)
    session.add(
        UserRow(name=FIRST_USER, password_hash=_HASHER.hash(password), role=Role.ADMIN.value, created_at=utc_now())
    )
    session.flush()
    return password


def check_password(session: Session, username: str, password: str) -> UserRow:
    """Give the user whose password this is.

    Raises:
        NotLoggedIn: `auth.wrong_password`, for an unknown name too.
    """
    user = session.scalar(select(UserRow).where(UserRow.name == username))
    try:
        _HASHER.verify(_NOBODY if user is None else user.password_hash, password)
    except (VerifyMismatchError, InvalidHashError) as error:
        raise NotLoggedIn("auth.wrong_password", "The name or the password is wrong.") from error
    if user is None:
        raise NotLoggedIn("auth.wrong_password", "The name or the password is wrong.")
    return user


def create_token(session: Session, user: UserRow, *, name: str, expires_in_s: int) -> tuple[TokenRow, str]:
    """Make a bearer token; gives its row and the secret, which is shown once."""
    secret = secrets.token_urlsafe(32)
    now = utc_now()
    row = TokenRow(
        user_id=user.id,
        name=name,
        secret_digest=_digest(secret),
        created_at=now,
        expires_at=now + timedelta(seconds=expires_in_s),
    )
    session.add(row)
    session.flush()
    return row, secret


def caller_of(session: Session, secret: str, now: datetime) -> Caller:
    """Give who presents a bearer token.

    Raises:
        NotLoggedIn: `auth.wrong_token`, `auth.token_expired`.
    """
    found = session.execute(
        select(TokenRow, UserRow)
        .join(UserRow, UserRow.id == TokenRow.user_id)
        .where(TokenRow.secret_digest == _digest(secret))
    ).one_or_none()
    if found is None:
        raise NotLoggedIn("auth.wrong_token", "The bearer token is not known; log in again.")
    token, user = found
    if token.expires_at is not None and now >= token.expires_at:
        raise NotLoggedIn("auth.token_expired", "The bearer token has expired; log in again.")
    return Caller(user_id=user.id, name=user.name, role=Role(user.role), token_id=token.id)


def get_user(session: Session, user_id: str) -> UserRow:
    """Give a user.

    Raises:
        NotFound: `user.not_found`.
    """
    user = session.get(UserRow, user_id)
    if user is None:
        raise NotFound("user.not_found", "There is no such user.")
    return user


def delete_token(session: Session, user_id: str, token_id: str) -> None:
    """Let one of a user's own tokens open nothing from now on.

    Raises:
        NotFound: `token.not_found`, also for one of another user.
    """
    row = session.get(TokenRow, token_id)
    if row is None or row.user_id != user_id:
        raise NotFound("token.not_found", "You have no such token.")
    session.delete(row)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
