"""Executions."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.executions import Execution


class Executions:
    """`/v1/executions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        *,
        device_id: str | None = None,
        owner_id: str | None = None,
        state: str | None = None,
        kind: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Execution]:
        """Give a page of executions, newest first."""
        query = {"device_id": device_id, "owner_id": owner_id, "state": state, "kind": kind}
        return self._connection.page("/executions", Execution, query, limit=limit, cursor=cursor)

    def show(self, execution_id: str) -> Execution:
        """Show an execution, and what it waits for."""
        return self._connection.get(f"/executions/{execution_id}", Execution)
