"""The controller about itself: health, metrics, refusals, events, audit."""

from typing import Any

from pydantic import RootModel

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.devices import Event, Refusal


class Entry(RootModel[dict[str, Any]]):
    """An entry of the audit list: id, actor, action, subject, data, at."""


class Observe:
    """`/v1/health`, `/v1/metrics`, `/v1/refusals`, `/v1/events`, `/v1/audit`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def health(self) -> dict[str, Any]:
        """Tell whether the controller and its database answer; needs no login."""
        return self._connection.get("/health", Entry).root

    def metrics(self) -> str:
        """Give the process's metrics in Prometheus' text format."""
        return self._connection.get_text("/metrics")

    def refusals(self, *, limit: int = 100) -> list[Refusal]:
        """Give whom the controller refused and why, latest first."""
        return self._connection.page("/refusals", Refusal, limit=limit, cursor=None).items

    def events(self, *, name: str | None = None, limit: int = 50, cursor: str | None = None) -> Page[Event]:
        """Give a page of what happened, newest first."""
        return self._connection.page("/events", Event, {"name": name}, limit=limit, cursor=cursor)

    def audit(self, *, limit: int = 50, cursor: str | None = None) -> Page[Entry]:
        """Give a page of who changed what, newest first."""
        return self._connection.page("/audit", Entry, limit=limit, cursor=cursor)
