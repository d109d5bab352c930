"""Webhooks: where the controller posts what happens."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.telemetry import NewWebhook, Webhook, WebhookDelivery, WebhookRequest


class Webhooks:
    """`/v1/webhooks`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: WebhookRequest) -> NewWebhook:
        """Have chosen events posted to a URL; gives the secret that signs them, this once."""
        return self._connection.send("POST", "/webhooks", NewWebhook, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Webhook]:
        """Give a page of webhooks by name."""
        return self._connection.page("/webhooks", Webhook, limit=limit, cursor=cursor)

    def delete(self, name: str) -> None:
        """Delete a webhook, with what waits to be posted to it."""
        self._connection.delete(f"/webhooks/{name}")

    def test(self, name: str) -> WebhookDelivery:
        """Post a test at once; gives how it went."""
        return self._connection.send("POST", f"/webhooks/{name}/test", WebhookDelivery)

    def deliveries(self, name: str, *, limit: int = 50, cursor: str | None = None) -> Page[WebhookDelivery]:
        """Give a page of what was and will be posted, newest first."""
        return self._connection.page(f"/webhooks/{name}/deliveries", WebhookDelivery, limit=limit, cursor=cursor)
