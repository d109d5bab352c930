"""Executions and commands."""

from collections.abc import Iterator

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.executions import Command, CommandRequest, Execution


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

    def log(self, execution_id: str) -> Iterator[bytes]:
        """Give the log that a device sent for a `collect_logs`, piece by piece."""
        return self._connection.stream(f"/executions/{execution_id}/log", {})

    def cancel(self, execution_id: str) -> Execution:
        """Stop an execution; a rollout step or a round goes on without it."""
        return self._connection.send("POST", f"/executions/{execution_id}/cancel", Execution)


class Commands:
    """`/v1/commands`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: CommandRequest) -> Command:
        """Ask devices for something once."""
        return self._connection.send("POST", "/commands", Command, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Command]:
        """Give a page of commands, newest first."""
        return self._connection.page("/commands", Command, limit=limit, cursor=cursor)

    def show(self, command_id: str) -> Command:
        """Show a command and how far its executions are."""
        return self._connection.get(f"/commands/{command_id}", Command)

    def cancel(self, command_id: str) -> Command:
        """Stop what is open of a command."""
        return self._connection.send("POST", f"/commands/{command_id}/cancel", Command)
