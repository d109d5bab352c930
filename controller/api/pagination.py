"""Lists in pages, by key and never by offset: a row that comes meanwhile moves nothing to another page."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from controller.errors import Invalid
from shoal.schemas.common import Page

Row = TypeVar("Row")
Item = TypeVar("Item")


class Window:
    """Which page a caller wants."""

    def __init__(
        self,
        cursor: Annotated[str | None, Query(max_length=512)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> None:
        self.limit = limit
        self.after = None if cursor is None else _decode(cursor)


Wanted = Annotated[Window, Depends()]


def page(
    session: Session,
    query: Select[Row],
    key: InstrumentedAttribute[str],
    window: Window,
    convert: Callable[[Row], Item],
    *,
    is_newest_first: bool = True,
) -> Page[Item]:
    """Give one page of a query, ordered by a unique `key` (UUIDv7: by time).

    Raises:
        Invalid: `page.bad_cursor`.
    """
    ordered: Select[Any] = query.order_by(key.desc() if is_newest_first else key.asc()).limit(window.limit + 1)
    if window.after is not None:
        ordered = ordered.where(key < window.after if is_newest_first else key > window.after)
    found = follow_on(list(session.scalars(ordered)), window, lambda row: str(getattr(row, key.key)))
    return Page(items=[convert(row) for row in found.items], next_cursor=found.next_cursor)


def follow_on(rows: Sequence[Row], window: Window, key: Callable[[Row], str]) -> Page[Row]:
    """Give the page that some rows make, which are one more than the window holds where another page follows."""
    items = list(rows[: window.limit])
    return Page(items=items, next_cursor=None if len(rows) <= window.limit else _encode(key(items[-1])))


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Invalid("page.bad_cursor", "The cursor is none that a list gave.") from error
