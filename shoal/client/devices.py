"""Devices, their certificates and sessions, fleet counts, receipts, enrolment tokens."""

from collections.abc import Iterator
from typing import Literal

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.devices import (
    Certificate,
    Device,
    DeviceChange,
    DeviceSession,
    Difference,
    EnrollmentToken,
    EnrollmentTokenRequest,
    Event,
    FleetMap,
    FleetSummary,
    NewEnrollmentToken,
    Receipt,
    StateChange,
)


class Devices:
    """`/v1/devices`, `/v1/fleet`, `/v1/receipts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fleet(self) -> FleetSummary:
        """Count the fleet."""
        return self._connection.get("/fleet", FleetSummary)

    def fleet_map(self, label: str | None = None) -> FleetMap:
        """Give the health of the fleet by a label's values."""
        return self._connection.get("/fleet/map", FleetMap, {"label": label})

    def list(self, *, q: str = "", selector: str = "", limit: int = 50, cursor: str | None = None) -> Page[Device]:
        """Give a page of devices by id, with the total.

        Args:
            q: Part of an id or a host name.
            selector: Which devices; empty for all.
        """
        query = {"q": q, "selector": selector}
        return self._connection.page("/devices", Device, query, limit=limit, cursor=cursor)

    def export(self, format: Literal["csv", "json"], selector: str = "") -> Iterator[bytes]:
        """Give all devices that a selector means as a file, piece by piece."""
        return self._connection.stream("/devices/export", {"format": format, "selector": selector})

    def show(self, device_id: str) -> Device:
        """Show a device."""
        return self._connection.get(f"/devices/{device_id}", Device)

    def change(self, device_id: str, request: DeviceChange) -> Device:
        """Replace a device's labels."""
        return self._connection.send("PATCH", f"/devices/{device_id}", Device, request)

    def approve(self, device_id: str) -> Device:
        """Let a pending machine be a device of its own."""
        return self._connection.send("POST", f"/devices/{device_id}/approve", Device)

    def merge(self, device_id: str) -> Device:
        """Give the device that a pending machine claims the machine's new key; gives that device."""
        return self._connection.send("POST", f"/devices/{device_id}/merge", Device)

    def suspend(self, device_id: str, reason: str = "") -> Device:
        """Stop listening to a device until it is activated again."""
        return self._connection.send("POST", f"/devices/{device_id}/suspend", Device, StateChange(reason=reason))

    def activate(self, device_id: str) -> Device:
        """Listen to a suspended device again."""
        return self._connection.send("POST", f"/devices/{device_id}/activate", Device)

    def retire(self, device_id: str, reason: str = "") -> Device:
        """Part with a device, or turn a pending machine away, for good."""
        return self._connection.send("POST", f"/devices/{device_id}/retire", Device, StateChange(reason=reason))

    def certificates(self, device_id: str) -> Page[Certificate]:
        """Give a device's newest certificates."""
        return self._connection.get(f"/devices/{device_id}/certificates", Page[Certificate])

    def sessions(self, device_id: str) -> Page[DeviceSession]:
        """Give a device's newest sessions with the broker."""
        return self._connection.get(f"/devices/{device_id}/sessions", Page[DeviceSession])

    def receipts(self, device_id: str, *, limit: int = 50, cursor: str | None = None) -> Page[Receipt]:
        """Give a page of a device's receipts, newest first."""
        return self._connection.page(f"/devices/{device_id}/receipts", Receipt, limit=limit, cursor=cursor)

    def difference(self, device_id: str) -> Page[Difference]:
        """Say in what a device is not what it shall be, and why."""
        return self._connection.get(f"/devices/{device_id}/difference", Page[Difference])

    def events(self, device_id: str, *, name: str = "", limit: int = 50, cursor: str | None = None) -> Page[Event]:
        """Give a page of what happened to a device, newest first.

        Args:
            name: The beginning of the events' names: `alert.`.
        """
        return self._connection.page(f"/devices/{device_id}/events", Event, {"name": name}, limit=limit, cursor=cursor)

    def list_receipts(
        self, *, model: str | None = None, version: int | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Receipt]:
        """Give a page of all devices' receipts, newest first."""
        query = {"model": model, "version": version}
        return self._connection.page("/receipts", Receipt, query, limit=limit, cursor=cursor)


class EnrollmentTokens:
    """`/v1/enrollment-tokens`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: EnrollmentTokenRequest) -> NewEnrollmentToken:
        """Make a token, shown this once."""
        return self._connection.send("POST", "/enrollment-tokens", NewEnrollmentToken, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[EnrollmentToken]:
        """Give a page of tokens, newest first."""
        return self._connection.page("/enrollment-tokens", EnrollmentToken, limit=limit, cursor=cursor)

    def revoke(self, token_id: str) -> None:
        """Let a token enrol nobody from now on."""
        self._connection.delete(f"/enrollment-tokens/{token_id}")
