"""Where the controller is, and who we are there: `SHOAL_URL`, and `SHOAL_TOKEN` or what `shoal login` kept.

A kept token is sent to the address that gave it, to no other.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shoal.cli.errors import CliError
from shoal.client import Client

_DEFAULT_URL: Final = "http://127.0.0.1:8080"
_MAX_BYTES: Final = 1024 * 1024


class Login(BaseModel):
    """What is kept of a login."""

    model_config = ConfigDict(extra="ignore")

    id: str
    token: str
    username: str


_LOGINS: Final = TypeAdapter(dict[str, Login])


def url() -> str:
    """Give the controller's address.

    Raises:
        CliError: `url.invalid`.
    """
    given = (os.environ.get("SHOAL_URL") or _DEFAULT_URL).rstrip("/")
    if not given.startswith(("http://", "https://")):
        raise CliError("url.invalid", f"SHOAL_URL={given!r} begins with neither http:// nor https://.")
    return given.removesuffix("/v1")


def connect() -> Client:
    """Give the client of the controller.

    Raises:
        CliError: `url.invalid`, `login.unreadable`, `auth.not_logged_in`.
    """
    where = url()
    token = os.environ.get("SHOAL_TOKEN", "")
    if not token:
        kept = read_logins().get(where)
        if kept is None:
            raise CliError("auth.not_logged_in", f"Not logged in to {where}: run `shoal login`, or set SHOAL_TOKEN.")
        token = kept.token
    return Client(where, token)


def read_logins() -> dict[str, Login]:
    """Give the kept logins by address.

    Raises:
        CliError: `login.unreadable`.
    """
    path = _path()
    try:
        with path.open("rb") as file:
            return _LOGINS.validate_json(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise CliError("login.unreadable", f"{path} is damaged: delete it, and run `shoal login` again.") from error


def write_logins(logins: dict[str, Login]) -> Path:
    """Keep logins, readable by this user only; gives the file."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        plain: dict[str, Any] = _LOGINS.dump_python(logins)
        json.dump(plain, file, indent=2)
    new.replace(path)
    return path


def _path() -> Path:
    given = os.environ.get("SHOAL_CONFIG")
    folder = Path(given).expanduser() if given else Path.home() / ".config/shoal"
    return folder / "logins.json"
