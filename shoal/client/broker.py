"""Whom a broker shall shut out."""

from shoal.client.connection import Connection
from shoal.schemas.broker import BrokerAccess, Synced


class Broker:
    """`/v1/broker-access`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def access(self) -> BrokerAccess:
        """Show the revision that the gateway made last."""
        return self._connection.get("/broker-access", BrokerAccess)

    def synced(self, revision: int) -> Synced:
        """Say that a broker follows a revision: the sessions that it shuts out are ended."""
        return self._connection.send("PUT", "/broker-access/synced", Synced, Synced(revision=revision))
