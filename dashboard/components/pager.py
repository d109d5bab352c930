"""Walking through long lists page by page, by the API's cursors; a list is never loaded whole."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from nicegui import ui

from dashboard import format
from shoal.schemas.common import Page

T = TypeVar("T")


class Walk:
    """Where somebody stands in a list whose cursors only lead forward: remembers those behind.

    >>> walk = Walk()
    >>> walk.seen("b"); walk.forward(); walk.cursor, walk.number
    ('b', 1)
    >>> walk.back(); walk.cursor, walk.number
    (None, 0)
    """

    _behind: list[str | None]
    _next: str | None

    def __init__(self) -> None:
        self.restart()

    @property
    def cursor(self) -> str | None:
        """The present page's cursor."""
        return self._behind[-1]

    @property
    def number(self) -> int:
        """The present page, counted from 0."""
        return len(self._behind) - 1

    @property
    def has_next(self) -> bool:
        """Whether a page follows."""
        return self._next is not None

    def seen(self, next_cursor: str | None) -> None:
        """Take note of what follows the page that was read."""
        self._next = next_cursor

    def forward(self) -> None:
        """Go to the next page, if there is one."""
        if self._next is not None:
            self._behind.append(self._next)
            self._next = None

    def back(self) -> None:
        """Go to the page before, if there is one."""
        if len(self._behind) > 1:
            self._next = self._behind.pop()

    def restart(self) -> None:
        """Go to the first page, as after another search."""
        self._behind = [None]
        self._next = None


class Pager(Generic[T]):
    """Buttons that walk through a list; read with `cursor` and `size`, then `show` what came."""

    def __init__(self, *, size: int, on_move: Callable[[], Awaitable[None]]) -> None:
        self.size = size
        self._walk = Walk()
        self._on_move = on_move
        with ui.element("div").classes("pager") as self._row:
            self._words = ui.label("").props('data-testid="page-words"')
            self._first = ui.button(icon="first_page", on_click=self._go_first, color=None)
            self._back = ui.button(icon="chevron_left", on_click=self._go_back, color=None)
            self._next = ui.button(icon="chevron_right", on_click=self._go_forward, color=None)
            self._first.props('flat round dense aria-label="First page"')
            self._back.props('flat round dense aria-label="Previous page"')
            self._next.props('flat round dense aria-label="Next page"')

    @property
    def cursor(self) -> str | None:
        """Where the present page begins."""
        return self._walk.cursor

    def restart(self) -> None:
        """Go to the first page."""
        self._walk.restart()

    def show(self, page: Page[T]) -> None:
        """Say which part of the list is shown."""
        self._walk.seen(page.next_cursor)
        first = self._walk.number * self.size + 1
        last = first + len(page.items) - 1
        total = f" of {format.count(page.total)}" if page.total is not None else ""
        self._words.set_text(f"{format.count(first)}–{format.count(last)}{total}" if page.items else "")
        self._first.set_enabled(self._walk.number > 0)
        self._back.set_enabled(self._walk.number > 0)
        self._next.set_enabled(self._walk.has_next)
        is_counted = page.total is not None and bool(page.items)
        self._row.set_visibility(self._walk.has_next or self._walk.number > 0 or is_counted)

    async def _go_first(self) -> None:
        self._walk.restart()
        await self._on_move()

    async def _go_back(self) -> None:
        self._walk.back()
        await self._on_move()

    async def _go_forward(self) -> None:
        self._walk.forward()
        await self._on_move()
