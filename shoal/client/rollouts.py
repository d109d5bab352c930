"""Rollouts."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.rollouts import Rollout, RolloutRequest, RolloutTarget


class Rollouts:
    """`/v1/rollouts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: RolloutRequest) -> Rollout:
        """Start a rollout."""
        return self._connection.send("POST", "/rollouts", Rollout, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Rollout]:
        """Give a page of rollouts, newest first."""
        return self._connection.page("/rollouts", Rollout, limit=limit, cursor=cursor)

    def show(self, rollout_id: str) -> Rollout:
        """Show a rollout and its waves."""
        return self._connection.get(f"/rollouts/{rollout_id}", Rollout)

    def targets(self, rollout_id: str) -> Page[RolloutTarget]:
        """Give all devices of a rollout with their variant and how far each is."""
        return self._connection.get(f"/rollouts/{rollout_id}/targets", Page[RolloutTarget])

    def cancel(self, rollout_id: str) -> Rollout:
        """Stop a rollout; devices that moved stay where they are."""
        return self._connection.send("POST", f"/rollouts/{rollout_id}/cancel", Rollout)
