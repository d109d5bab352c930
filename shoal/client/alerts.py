"""Rules that watch telemetry, and the alerts that they raise."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.telemetry import Alert, AlertRule, AlertRuleChange, AlertRuleRequest


class AlertRules:
    """`/v1/alert-rules`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: AlertRuleRequest) -> AlertRule:
        """Watch one kind of telemetry on the devices of a selector."""
        return self._connection.send("POST", "/alert-rules", AlertRule, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[AlertRule]:
        """Give a page of rules by name."""
        return self._connection.page("/alert-rules", AlertRule, limit=limit, cursor=cursor)

    def change(self, name: str, request: AlertRuleChange) -> AlertRule:
        """Change a rule; one that is disabled ends its alerts."""
        return self._connection.send("PATCH", f"/alert-rules/{name}", AlertRule, request)

    def delete(self, name: str) -> None:
        """Delete a rule; its open alerts end."""
        self._connection.delete(f"/alert-rules/{name}")


class Alerts:
    """`/v1/alerts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        state: str | None = None,
        rule: str | None = None,
        device: str | None = None,
        severity: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Alert]:
        """Give a page of alerts, newest first."""
        query = {"state": state, "rule": rule, "device": device, "severity": severity}
        return self._connection.page("/alerts", Alert, query, limit=limit, cursor=cursor)

    def acknowledge(self, alert_id: str) -> Alert:
        """Say that you look after an alert."""
        return self._connection.send("POST", f"/alerts/{alert_id}/acknowledge", Alert)
