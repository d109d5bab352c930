"""The one way out: tables for people, one JSON document for programs, and sentences on standard error."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from shoal.cli import figures
from shoal.cli.errors import CliError
from shoal.client import ApiError, Unreachable
from shoal.schemas.common import Page

Item = TypeVar("Item")
FAILED: Final = 1
USAGE: Final = 2
_PIPED_WIDTH: Final = 10_000  # nothing is cut where no terminal limits the line
_SHOWN_FIELDS: Final = 3
_LINE: Final = 60
_LONG_LEAST: Final = 16
_GAP: Final = 2
_STYLES: Final = {
    "succeeded": "green",
    "serving": "green",
    "online": "green",
    "active": "green",
    "kept": "green",
    "ready": "green",
    "checking": "cyan",
    "refused": "red",
    "running": "cyan",
    "in_progress": "cyan",
    "learning": "cyan",
    "open": "cyan",
    "resolved": "green",
    "delivered": "green",
    "pending": "yellow",
    "firing": "red",
    "paused": "yellow",
    "offline": "yellow",
    "rejected": "red",
    "failed": "red",
    "timed_out": "red",
    "revoked": "red",
}


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Item]):
    """A column of a table.

    Attributes:
        of: Gives what an item has there: anything that `figures.text` can say.
        is_number: Aligned to the right.
        is_long: Folded where the line is too short; other columns never are.
        is_optional: Left out where no item has anything there.
    """

    title: str
    of: Callable[[Item], Any]
    is_number: bool = False
    is_long: bool = False
    is_optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Part(Generic[Item]):
    """A table under an item: what it is made of."""

    items: Sequence[Item]
    columns: Sequence[Column[Item]]


def show_page(page: Page[Item], columns: Sequence[Column[Item]], *, empty: str, as_json: bool) -> None:
    """Print a list: a table, or `{items, next_cursor, total}`.

    Args:
        empty: What is said where there is nothing: what to do about it.
    """
    if as_json:
        _print_json(page)
        return
    shown: list[RenderableType] = [table(page.items, columns, console().width)] if page.items else [_text(empty)]
    if page.next_cursor is not None:
        of = f" of {page.total}" if page.total is not None else ""
        shown.append(_text(f"{len(page.items)}{of} shown. Next: --cursor {page.next_cursor}, or all with --all."))
    _print(*shown)


def show_item(
    item: BaseModel, facts: dict[str, Any], *parts: Part[Any], to_copy: Sequence[str] = (), as_json: bool
) -> None:
    """Print one thing: its facts by name, then what it is made of; or all of it as JSON.

    Args:
        to_copy: Lines that are left whole, however long.
    """
    if as_json:
        _print_json(item)
        return
    grid = _block({name: cell(value) for name, value in _unfolded(facts)}, is_last=True)
    tables = [table(part.items, part.columns, console().width) for part in parts if part.items]
    _print(grid, *(shown for made in tables for shown in ("", made)))
    sys.stdout.write("".join(f"{line}\n" for line in to_copy))


def show_tree(item: BaseModel, tree: Tree, *, as_json: bool) -> None:
    """Print a tree; or what it is made of as JSON."""
    if as_json:
        _print_json(item)
    else:
        _print(tree)


def show_done(sentence: str, document: dict[str, Any], *, as_json: bool) -> None:
    """Print that something was done."""
    if as_json:
        _print_json(document)
    else:
        _print(_text(sentence))


def table(items: Sequence[Item], columns: Sequence[Column[Item]], width: int) -> RenderableType:
    """Give the table of some items; where a line has not that much room, a block for each item. Nothing is cut off."""
    filled = [(column, [cell(column.of(item)) for item in items]) for column in columns]
    shown = [(column, cells) for column, cells in filled if not column.is_optional or any(map(_has_value, cells))]
    needed = 0
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column, cells in shown:
        widest = max(cell_len(column.title), *(one.cell_len for one in cells))
        needed += min(widest, _LONG_LEAST) if column.is_long else widest
        justify: JustifyMethod = "right" if column.is_number else "left"
        made.add_column(column.title, justify=justify, no_wrap=not column.is_long, overflow="fold")
    rows = list(zip(*(cells for _, cells in shown), strict=True))
    if needed + _GAP * (len(shown) - 1) > width:
        titles = [column.title for column, _ in shown]
        return Group(*(_block(dict(zip(titles, row, strict=True)), is_last=row is rows[-1]) for row in rows))
    for row in rows:
        made.add_row(*row)
    return made


def cell(value: Any) -> Text:
    """Give a value as it stands in a table; states have colours."""
    said = figures.text(value)
    return Text(said, style=_STYLES.get(said, ""))


def console(*, is_error: bool = False) -> Console:
    """Give the terminal, or what stands for it."""
    made = Console(stderr=is_error, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _PIPED_WIDTH
    return made


def say(sentence: str) -> None:
    """Tell people something on standard error, where it is in no program's way."""
    sys.stderr.write(f"{' '.join(figures.text(sentence).split())}\n")
    sys.stderr.flush()


def fail(error: Exception) -> int:
    """Say in a sentence on standard error why a command ends, and show the place in a selector; gives the exit code."""
    if isinstance(error, ApiError) and any("column" in one for one in error.errors):
        sys.stderr.write(f"{error} [{error.code}]\n")
        return USAGE
    say(sentence(error))
    return USAGE if isinstance(error, ValidationError) else FAILED


def sentence(error: Exception) -> str:
    """Say what went wrong and what to do, with the code in brackets."""
    if isinstance(error, ApiError):
        wrong = [f"{one.get('field')}: {one.get('message')}" for one in error.errors[:_SHOWN_FIELDS]]
        fields = f" ({'; '.join(wrong)})" if wrong else ""
        return f"{error}{fields}{_hint(error)} [{error.code}]"
    if isinstance(error, Unreachable):
        return f"{error} See SHOAL_URL. [client.unreachable]"
    if isinstance(error, CliError):
        return f"{error} [{error.code}]"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or error.title
        return f"{where}: {first['msg']}. [request.invalid]"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno == errno.ENOSPC:
            return f"{where}The disk is full: make room. [disk.full]"
        return f"{where}{error.strerror or error}. [file.unusable]"
    return f"{error} [command.failed]"


def _hint(error: ApiError) -> str:
    if error.status != 401 or error.code == "auth.wrong_password":
        return ""
    return " That is the token in SHOAL_TOKEN." if os.environ.get("SHOAL_TOKEN") else " Run `shoal login`."


def _unfolded(facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Give facts line by line: what has too many of its own to stand in one line has a line for each."""
    for name, value in facts.items():
        if isinstance(value, dict) and len(figures.text(value)) > _LINE:
            yield name, " "
            yield from ((f"  {inner}", value[inner]) for inner in sorted(value))
        else:
            yield name, value


def _block(facts: dict[str, Text], *, is_last: bool) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, said in facts.items():
        grid.add_row(name, said)
    if not is_last:
        grid.add_row("")
    return grid


def _has_value(said: Text) -> bool:
    return said.plain != figures.ABSENT


def _text(said: str) -> Text:
    return Text(said, overflow="fold")


def _print(*shown: RenderableType) -> None:
    console().print(Group(*shown))


def _print_json(document: BaseModel | dict[str, Any]) -> None:
    plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
    sys.stdout.write(f"{json.dumps(plain, indent=2, ensure_ascii=False)}\n")
    sys.stdout.flush()  # a reader that is gone is noticed here, not at the end of the process
