"""A graph of what came from what: from the left to the right, each thing behind everything that it is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nicegui import events, ui

from dashboard.components.chart import COLOURS, GREY, Chart

_ROW_PX: Final = 46
_COLUMN_PX: Final = 235
_LABEL_PX: Final = 168
_SWEEPS: Final = 4  # over the columns; more change nothing that could be seen
_COLOUR_OF: Final = {"version": COLOURS[0], "variant": COLOURS[1], "dataset": COLOURS[2], "run": COLOURS[4]}
_SYMBOL_OF: Final = {"version": "roundRect", "variant": "circle", "dataset": "rect", "run": "diamond"}


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A node. `told`: what the pointer is told."""

    id: str
    kind: str
    title: str
    told: str


def columns_of(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Put nodes into columns, each right of all that lead to it, neighbours near each other.

    What leads to others and comes from nothing stands right before the first of them.

    >>> columns_of(["v1", "v2", "a", "data"], [("v1", "v2"), ("v2", "a"), ("data", "a")])
    [['v1'], ['v2', 'data'], ['a']]
    """
    before: dict[str, list[str]] = {node: [] for node in nodes}
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        if source in before and target in before and source != target:
            before[target].append(source)
            after[source].append(target)
    depth: dict[str, int] = {}
    waiting = {node: len(set(before[node])) for node in nodes}
    ready = [node for node in nodes if not waiting[node]]
    for node in ready:  # grows while it is walked through
        depth[node] = max((depth[source] + 1 for source in before[node]), default=0)
        for target in dict.fromkeys(after[node]):
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for node in nodes:
        depth.setdefault(node, 0)  # in a circle, which lineages do not have
        if not before[node] and after[node]:
            depth[node] = max(min(depth[target] for target in after[node] if target in depth) - 1, 0)
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in nodes:
        columns[depth[node]].append(node)
    columns = [column for column in columns if column]
    for _ in range(_SWEEPS):
        place = {node: at / max(len(column), 1) for column in columns for at, node in enumerate(column)}
        for column in columns:
            column.sort(key=lambda node: _mean([place[near] for near in before[node] + after[node]], place[node]))
    return columns


def graph_chart(things: Sequence[Thing], edges: Sequence[tuple[str, str, str]]) -> tuple[dict[str, Any], int, int]:
    """Give a drawing's options, and how wide and high it has to be, px. `edges`: source, target, role."""
    columns = columns_of([thing.id for thing in things], [(source, target) for source, target, _ in edges])
    rows = max((len(column) for column in columns), default=1)
    place = {
        node: (x, (at + 0.5) * rows / len(column)) for x, column in enumerate(columns) for at, node in enumerate(column)
    }
    kinds = list(dict.fromkeys(thing.kind for thing in things))
    hidden = {"show": False, "type": "value"}
    options: dict[str, Any] = {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "legend": {
            "show": True,
            "top": 4,
            "left": 8,
            "icon": "circle",
            "itemWidth": 10,
            "itemGap": 24,
            "textStyle": {"color": GREY},
        },
        "tooltip": {
            "renderMode": "richText",
            "confine": True,
            ":formatter": "p => p.data.told",
        },
        "grid": {"left": 16, "right": _LABEL_PX, "top": 40, "bottom": 8},
        "xAxis": {**hidden, "min": 0, "max": max(len(columns) - 1, 1)},
        "yAxis": {**hidden, "min": 0, "max": rows, "inverse": True},
        "series": [
            {
                "type": "graph",
                "coordinateSystem": "cartesian2d",
                "categories": [{"name": kind, "itemStyle": {"color": _COLOUR_OF.get(kind, GREY)}} for kind in kinds],
                "data": [_node(thing, place[thing.id], kinds) for thing in things],
                "links": [_link(source, target, role) for source, target, role in edges],
                "edgeSymbol": ["none", "arrow"],
                "edgeSymbolSize": 6,
                "cursor": "pointer",
                "label": {
                    "show": True,
                    "position": [0, -16],  # above: lines leave to the right
                    "align": "left",
                    "color": GREY,
                    "textBorderColor": "var(--box)",
                    "textBorderWidth": 3,
                    "fontSize": 12,
                    "width": _LABEL_PX,
                    "overflow": "truncate",
                    "formatter": "{b}",
                },
                "emphasis": {"focus": "adjacency", "lineStyle": {"width": 2.5, "opacity": 1}},
            }
        ],
    }
    return options, _COLUMN_PX * max(len(columns), 2) + 30, max(_ROW_PX * rows, 90) + 50


class GraphChart:
    """The drawing; wider than its box it is scrolled. `on_choose`: called with the id of what was clicked."""

    def __init__(self, *, label: str, test_id: str, on_choose: Callable[[str], object]) -> None:
        def chosen(event: events.EChartPointClickEventArguments) -> None:
            if isinstance(event.data, dict) and event.data.get("id"):
                on_choose(str(event.data["id"]))

        with ui.element("div").classes("scrolled").props('tabindex="0" role="group"') as self._box:
            self._box.props["aria-label"] = label
            self._chart = Chart(test_id=test_id, label=label, on_click=chosen)

    def show(self, things: Sequence[Thing], edges: Sequence[tuple[str, str, str]]) -> None:
        """Draw."""
        self._box.set_visibility(bool(things))
        options, width, height = graph_chart(things, edges)
        self._chart.resize(width, height)
        self._chart.show(options)


def _node(thing: Thing, place: tuple[float, float], kinds: Sequence[str]) -> dict[str, Any]:
    return {
        "id": thing.id,
        "name": thing.title,
        "told": thing.told,
        "value": list(place),
        "category": kinds.index(thing.kind),
        "symbol": _SYMBOL_OF.get(thing.kind, "triangle"),
        "symbolSize": 16 if thing.kind == "version" else 11,
    }


def _link(source: str, target: str, role: str) -> Mapping[str, Any]:
    is_main = role == "parent"
    style = {
        "color": GREY,
        "width": 2 if is_main else 1,
        "opacity": 0.9 if is_main else 0.35,
        "type": "solid" if is_main else "dashed",
        "curveness": 0 if is_main else 0.08,
    }
    return {"source": source, "target": target, "told": role, "lineStyle": style}


def _mean(figures: Sequence[float], otherwise: float) -> float:
    return sum(figures) / len(figures) if figures else otherwise
