"""Telemetry: the newest figures of a device, and charts."""

from datetime import datetime

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.telemetry import Latest, Series


class Telemetry:
    """`/v1/telemetry`, `/v1/devices/{id}/telemetry`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def latest(self, device_id: str) -> Latest:
        """Give the newest figure of each kind of a device."""
        return self._connection.get(f"/devices/{device_id}/telemetry", Latest)

    def kinds(self, *, device: str | None = None) -> list[str]:
        """Give the kinds that a device sends, or those of a sample of the fleet."""
        return self._connection.get("/telemetry/kinds", Page[str], {"device": device}).items

    def series(
        self,
        kind: str,
        *,
        device: str | None = None,
        selector: str | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
        step_s: float | None = None,
    ) -> Series:
        """Give one kind over time, in at most 500 points.

        Args:
            device, selector: Exactly one of them.
            begin: An hour before `end`, where it is None.
            end: Now, where it is None.
            step_s: The least length of a step.
        """
        query = {
            "kind": kind,
            "device": device,
            "selector": selector,
            "from": None if begin is None else begin.isoformat(),
            "to": None if end is None else end.isoformat(),
            "step_s": step_s,
        }
        return self._connection.get("/telemetry", Series, query)
