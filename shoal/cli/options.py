"""Options that several commands share, and how what is typed becomes a request's part."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import typer

from shoal.schemas.common import Page
from shoal.schemas.rollouts import WaveRequest

Item = TypeVar("Item")
_PAGE: Final = 200

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Every = Annotated[bool, typer.Option("--all", help="All pages.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=500, help="Items on a page.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Where the next page begins: the last one says it.")]
Watch = Annotated[bool, typer.Option("--watch", help="Stay until it has ended; exit code 1 unless it succeeded.")]

ToAll = Annotated[bool, typer.Option("--all", help="All devices.")]
ToDevices = Annotated[list[str] | None, typer.Option("--device", metavar="ID", help="This device; may be repeated.")]
ToLabels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Devices with this label; may be repeated.")
]
ToSelector = Annotated[
    str | None, typer.Option("--selector", metavar="TEXT", help="Such as 'facts.memory_bytes >= 2GiB and online'.")
]


@dataclass(frozen=True)
class Paging:
    """Which part of a list is wanted."""

    is_all: bool
    limit: int
    cursor: str | None

    def read(self, list_page: Callable[[int, str | None], Page[Item]]) -> Page[Item]:
        """Read it; `list_page` is given a limit and a cursor."""
        if not self.is_all:
            return list_page(self.limit, self.cursor)
        page = list_page(_PAGE, self.cursor)
        items = list(page.items)
        while page.next_cursor is not None:
            page = list_page(_PAGE, page.next_cursor)
            items += page.items
        return Page(items=items, next_cursor=None, total=len(items) if self.cursor is None else page.total)


def parse_labels(said: Sequence[str] | None) -> dict[str, str]:
    """Read labels.

    >>> parse_labels(["site=lyon", "gpu="])
    {'site': 'lyon', 'gpu': ''}

    Raises:
        typer.BadParameter: One has no name, or no `=`, or comes twice.
    """
    labels: dict[str, str] = {}
    for one in said or ():
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{one!r} is no label: write NAME=VALUE.", param_hint="--label")
        if name in labels:
            raise typer.BadParameter(f"The label {name!r} comes twice.", param_hint="--label")
        labels[name] = value
    return labels


def parse_selector(
    is_all: bool, device_ids: Sequence[str] | None, labels: Sequence[str] | None, selector: str | None
) -> str:
    """Give the selector of the devices that are meant; what is given together must hold together.

    >>> parse_selector(False, None, ["site=lyon"], "online")
    '(online) and labels["site"] == "lyon"'

    Raises:
        typer.BadParameter: Nothing is given, or `--all` and something else.
    """
    terms = [f"id in ({', '.join(map(json.dumps, device_ids))})"] if device_ids else []
    terms += label_terms(labels)
    if is_all == bool(terms or selector):
        raise typer.BadParameter(
            "Say which devices: either --all, or --device ID, --label NAME=VALUE, --selector TEXT or several of them."
        )
    return both(selector, terms)


def both(selector: str | None, terms: Sequence[str]) -> str:
    """Give the selector that means what all of these mean.

    >>> both("online or flapping", ["state == active"]), both(None, []), both("online", [])
    ('(online or flapping) and state == active', 'all', 'online')
    """
    first = [f"({selector})" if terms else selector] if selector else []
    return " and ".join([*first, *terms]) or "all"


def label_terms(labels: Sequence[str] | None) -> list[str]:
    """Give the comparisons that `--label NAME=VALUE` means.

    >>> label_terms(["site=lyon"])
    ['labels["site"] == "lyon"']
    """
    return [f"labels[{json.dumps(name)}] == {json.dumps(value)}" for name, value in parse_labels(labels).items()]


def parse_waves(said: Sequence[str] | None) -> list[WaveRequest] | None:
    """Read waves: a count, or a share in percent. None: the API's default.

    >>> [wave.count or wave.ratio for wave in parse_waves(["1", "12.5%"])]
    [1, 0.125]

    Raises:
        typer.BadParameter: Neither of the two.
    """
    return [_parse_wave(one) for one in said] if said else None


def parse_version(said: str) -> tuple[str, int]:
    """Read `MODEL/VERSION`.

    >>> parse_version("digits/2")
    ('digits', 2)

    Raises:
        typer.BadParameter.
    """
    model, _, number = said.partition("/")
    if not model or not (number.isascii() and number.isdecimal()):
        raise typer.BadParameter(f"{said!r} names no version: write MODEL/VERSION, such as digits/1.")
    return model, int(number)


def _parse_wave(said: str) -> WaveRequest:
    try:
        if said.endswith("%"):
            return WaveRequest(ratio=float(said.removesuffix("%")) / 100)
        return WaveRequest(count=int(said))
    except ValueError as error:
        raise typer.BadParameter(
            f"{said!r} is no wave: write a count such as 5, or a share such as 25%.", param_hint="--wave"
        ) from error
