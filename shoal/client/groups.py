"""Selectors, the groups that are saved from them, and label edits over a selector."""

from shoal.client.connection import Connection
from shoal.schemas.common import Page
from shoal.schemas.groups import (
    Group,
    GroupChange,
    GroupRequest,
    LabelEdit,
    LabelEditResult,
    SelectorCheck,
    SelectorField,
    SelectorRequest,
)


class Selectors:
    """`/v1/selectors`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self, request: SelectorRequest) -> SelectorCheck:
        """Count what a selector means now. What is wrong with it stands in the error's `errors`, with its column."""
        return self._connection.send("POST", "/selectors/check", SelectorCheck, request)

    def fields(self) -> Page[SelectorField]:
        """Give all that a selector can ask for."""
        return self._connection.get("/selectors/fields", Page[SelectorField])


class Groups:
    """`/v1/groups`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, request: GroupRequest) -> Group:
        """Save a selector under a name."""
        return self._connection.send("POST", "/groups", Group, request)

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Group]:
        """Give a page of groups by name."""
        return self._connection.page("/groups", Group, limit=limit, cursor=cursor)

    def show(self, name: str) -> Group:
        """Show a group."""
        return self._connection.get(f"/groups/{name}", Group)

    def change(self, name: str, request: GroupChange) -> Group:
        """Change a group's selector or description."""
        return self._connection.send("PATCH", f"/groups/{name}", Group, request)

    def delete(self, name: str) -> None:
        """Delete a group; its devices stay as they are."""
        self._connection.delete(f"/groups/{name}")


class Labels:
    """`/v1/labels`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def preview(self, request: LabelEdit) -> LabelEditResult:
        """Say what a label edit would do."""
        return self._connection.send("POST", "/labels/preview", LabelEditResult, request)

    def apply(self, request: LabelEdit) -> LabelEditResult:
        """Change the labels of all devices that a selector means."""
        return self._connection.send("POST", "/labels/apply", LabelEditResult, request)
