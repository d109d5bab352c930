"""Learning policies, and what devices learned alone."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.incremental import IncrementalUpdate, Policy, PolicyRequest


class IncrementalPolicies:
    """`/v1/incremental-policies`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: PolicyRequest) -> Policy:
        """Make the selected devices watch a model for drift and learn when they notice it."""
        return self._connection.send("POST", "/incremental-policies", Policy, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Policy]:
        """Give a page of policies, newest first."""
        return self._connection.page("/incremental-policies", Policy, limit=limit, cursor=cursor)


class IncrementalUpdates:
    """`/v1/incremental-updates`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self, *, device_id: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[IncrementalUpdate]:
        """Give a page of updates, newest first."""
        query = {"device_id": device_id}
        return self._connection.page("/incremental-updates", IncrementalUpdate, query, limit=limit, cursor=cursor)
