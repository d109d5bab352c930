"""The only reader of the dashboard's environment. Each setting is `SHOAL_DASHBOARD_<NAME>`."""

import os
from dataclasses import dataclass, fields
from typing import Self


class BadSetting(Exception):
    """A variable of the environment cannot be used; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the dashboard is told from outside.

    Attributes:
        api_url: The operators' door of the controller.
        host, port: Where the pages are served.
    """

    api_url: str = "http://127.0.0.1:8080"
    host: str = "127.0.0.1"
    port: int = 8090

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> Self:
        """Read `SHOAL_DASHBOARD_*`.

        Raises:
            BadSetting: A port is no number, or an address no `http://` or `https://` one.
        """
        source = dict(os.environ) if environment is None else environment
        given = {field.name: source.get(f"SHOAL_DASHBOARD_{field.name.upper()}", "") for field in fields(cls)}
        url = given["api_url"] or cls.api_url
        if not url.startswith(("http://", "https://")):
            raise BadSetting(f"SHOAL_DASHBOARD_API_URL={url!r} does not begin with http:// or https://.")
        return cls(api_url=url.rstrip("/"), host=given["host"] or cls.host, port=_port(given["port"] or str(cls.port)))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise BadSetting(f"SHOAL_DASHBOARD_PORT={text!r} is no port between 0 and 65535.")
    return int(text)
