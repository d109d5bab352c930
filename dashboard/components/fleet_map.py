"""A map of tiles, one for each value of a label: as large as it has devices, and split by how they are.

Colours are told apart by a pattern and by words too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from nicegui import ui

from dashboard import format

PARTS: Final = ("alerting", "flapping", "offline", "suspended", "healthy")
_LEAST_PX: Final = 150
_MOST_PX: Final = 420


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A tile: `counts` by the names in `PARTS`."""

    name: str
    href: str
    total: int
    counts: dict[str, int]


class FleetMap(ui.element, component="fleet_map.js"):
    """The map."""

    def __init__(self, *, label: str, test_id: str) -> None:
        super().__init__()
        self._props["label"] = label
        self._props["testId"] = test_id
        self._props["tiles"] = []

    def show(self, tiles: Sequence[Tile]) -> None:
        """Show tiles in the order given; what is shown already is not sent again."""
        whole = sum(tile.total for tile in tiles)
        drawn = [_drawn(tile, whole) for tile in tiles]
        if drawn != self._props["tiles"]:
            self._props["tiles"] = drawn
            self.update()


def legend() -> None:
    """Draw what the colours and patterns mean."""
    with ui.element("div").classes("legend").props('aria-hidden="true"'):
        for name in PARTS:
            with ui.element("span"):
                ui.element("span").classes(f"piece {name}")
                ui.label(name)


def told(tile: Tile) -> str:
    """Say how a tile's devices are; what there is none of is left out.

    >>> told(Tile(name="", href="", total=13, counts={"healthy": 11, "offline": 2, "alerting": 0}))
    '11 healthy, 2 offline'
    """
    counts = [(name, tile.counts.get(name, 0)) for name in ("healthy", *PARTS[:-1])]
    return ", ".join(f"{format.count(count)} {name}" for name, count in counts if count) or "no device"


def _drawn(tile: Tile, whole: int) -> dict[str, Any]:
    # By the root: the area that one sees then grows with the count, and small ones can still be read.
    share = math.sqrt(tile.total / whole) if whole else 0.0
    return {
        "key": tile.href,
        "name": tile.name,
        "href": tile.href,
        "total": format.count(tile.total),
        "told": told(tile),
        "weight": round(1 + share * 9, 2),
        "width": round(_LEAST_PX + share * (_MOST_PX - _LEAST_PX)),
        "shares": [
            {"name": name, "count": count, "words": f"{format.count(count)} {name}"}
            for name in PARTS
            if (count := tile.counts.get(name, 0))
        ],
    }
