"""Bearer tokens."""

from collections.abc import Iterator

from pydantic import BaseModel

from shoal.client.connection import Connection
from shoal.schemas.auth import LoginAnswer, Token, User


class _Login(BaseModel):
    """`LoginRequest` as it travels; its `SecretStr` would be sent as stars."""

    username: str
    password: str
    name: str
    expires_in_s: int


class Tokens:
    """`/v1/tokens`, `/v1/users/me`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, username: str, password: str, *, name: str = "login", expires_in_s: int = 43_200) -> LoginAnswer:
        """Exchange a password for a token, shown this once.

        Raises:
            ApiError: `auth.wrong_password`.
        """
        told = _Login(username=username, password=password, name=name, expires_in_s=expires_in_s)
        return self._connection.send("POST", "/tokens", LoginAnswer, told)

    def every(self) -> Iterator[Token]:
        """Give one's own tokens, newest first."""
        return self._connection.every("/tokens", Token)

    def delete(self, token_id: str) -> None:
        """Let one of one's own tokens open nothing from now on."""
        self._connection.delete(f"/tokens/{token_id}")

    def me(self) -> User:
        """Say who calls."""
        return self._connection.get("/users/me", User)
