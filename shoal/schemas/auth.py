"""Users and bearer tokens."""

from datetime import datetime

from pydantic import Field, SecretStr

from shoal.schemas.common import Request, Response


class LoginRequest(Request):
    """`POST /v1/tokens`: exchange a password for a bearer token."""

    username: str = Field(max_length=128)
    password: SecretStr = Field(max_length=1024)
    name: str = Field(default="login", max_length=128)
    expires_in_s: int = Field(default=12 * 3600, ge=60, le=366 * 86400)


class LoginAnswer(Response):
    """The token, shown this once."""

    id: str
    token: str
    username: str
    role: str
    expires_at: datetime | None


class Token(Response):
    """A bearer token, without its secret."""

    id: str
    name: str
    created_at: datetime
    expires_at: datetime | None


class User(Response):
    """Who is calling."""

    id: str
    name: str
    role: str
    created_at: datetime
