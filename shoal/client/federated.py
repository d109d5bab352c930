"""Federated runs."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.federated import FederatedRun, FederatedRunRequest


class FederatedRuns:
    """`/v1/federated-runs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: FederatedRunRequest) -> FederatedRun:
        """Start a run."""
        return self._connection.send("POST", "/federated-runs", FederatedRun, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[FederatedRun]:
        """Give a page of runs, newest first."""
        return self._connection.page("/federated-runs", FederatedRun, limit=limit, cursor=cursor)

    def show(self, run_id: str) -> FederatedRun:
        """Show a run and its rounds."""
        return self._connection.get(f"/federated-runs/{run_id}", FederatedRun)

    def cancel(self, run_id: str) -> FederatedRun:
        """Stop a run; its closed rounds stay."""
        return self._connection.send("POST", f"/federated-runs/{run_id}/cancel", FederatedRun)
