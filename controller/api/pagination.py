"""Lists in pages, by key and never by offset: a row that comes meanwhile moves nothing to another page."""

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from sqlalchemy import Select, func, select
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
    with_total: bool = False,
) -> Page[Item]:
    """Give one page of a query, ordered by a unique `key` (UUIDv7: by time).

    Raises:
        Invalid: `page.bad_cursor`.
    """
    total = session.scalar(select(func.count()).select_from(query.subquery())) if with_total else None
    ordered: Select[Any] = query.order_by(key.desc() if is_newest_first else key.asc()).limit(window.limit + 1)
    if window.after is not None:
        ordered = ordered.where(key < window.after if is_newest_first else key > window.after)
    rows = list(session.scalars(ordered))
    is_last = len(rows) <= window.limit
    rows = rows[: window.limit]
    cursor = None if is_last else _encode(str(getattr(rows[-1], key.key)))
    return Page(items=[convert(row) for row in rows], next_cursor=cursor, total=total)


def _encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Invalid("page.bad_cursor", "The cursor is none that a list gave.") from error
