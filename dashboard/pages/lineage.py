"""`/models/{name}/lineage`: where everything of a model comes from, drawn and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, recipes
from dashboard.components import form, table
from dashboard.components.graph import GraphChart, Thing
from dashboard.components.layout import empty, section
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.pages.model_frame import model_heading
from shoal.schemas.artifacts import Lineage, LineageEdge, LineageNode

_MANY: Final = 60  # nodes from which on data sets and jobs are left out of the drawing at first
_EVERY_S: Final = 10.0
_MAIN: Final = frozenset({"version", "variant", "run"})
_ALL, _ONLY_MAIN = "Everything", "Versions, variants and runs"


@dataclass(frozen=True, kw_only=True)
class Edges:
    """What leads to each node, by role."""

    into: dict[str, list[tuple[str, str]]]

    @classmethod
    def of(cls, edges: Sequence[LineageEdge]) -> "Edges":
        """Sort edges by their target."""
        into: dict[str, list[tuple[str, str]]] = {}
        for edge in edges:
            into.setdefault(edge.target, []).append((edge.role, edge.source))
        return cls(into=into)


def lineage(page: Page, name: str) -> None:
    """Draw the page."""
    view = _View(page, name)
    page.live(lambda client: client.models.lineage(name), view.show, every_s=_EVERY_S)


class _View:
    def __init__(self, page: Page, name: str) -> None:
        self._name = name
        self._shown: Lineage | None = None
        self._choice: ui.select | None = None
        with model_heading(page, name, "/lineage"):
            pass
        hint = "what is left went into what is right of it; choose something to open its page"
        with section("Lineage", hint=hint, test_id="lineage") as actions:
            self._graph = GraphChart(
                label=f"Lineage of {name}, as a drawing; the table below says the same.",
                test_id="lineage-chart",
                on_choose=self._open,
            )
            self._empty = empty("Nothing yet: the model has no version.", icon="account_tree")
        with actions:
            self._choice = form.select("Show", [_ALL, _ONLY_MAIN], on_change=self._draw)
            self._choice.props('data-testid="lineage-show"')
        with section("The same as a table", hint="the newest first", test_id="lineage-table"):
            self._table = Table(
                [
                    Column(name="what", label="What", is_long=True),
                    Column(name="kind", label="Kind"),
                    Column(name="of", label="Made of", is_long=True),
                    Column(name="figures", label="Figures", is_long=True),
                    Column(name="made", label="Made"),
                ],
                nothing="Nothing yet: the model has no version.",
            )

    def show(self, found: Lineage) -> None:
        if found == self._shown:
            return
        is_first = self._shown is None
        self._shown = found
        if is_first and self._choice is not None:
            self._choice.value = _ONLY_MAIN if len(found.nodes) > _MANY else _ALL
        self._draw()
        edges, titles, now = Edges.of(found.edges), {node.id: node_title(node) for node in found.nodes}, _now()
        self._table.show([node_row(self._name, node, edges, titles, now) for node in reversed(found.nodes)])
        self._empty.set_visibility(not found.nodes)

    def _draw(self) -> None:
        if self._shown is None or self._choice is None:
            return
        wanted = self._choice.value
        things = [thing(node) for node in self._shown.nodes if wanted != _ONLY_MAIN or node.kind in _MAIN]
        ids = {one.id for one in things}
        edges = [edge for edge in self._shown.edges if edge.source in ids and edge.target in ids]
        self._graph.show(things, [(edge.source, edge.target, edge.role) for edge in edges])

    def _open(self, node_id: str) -> None:
        if address := node_address(self._name, node_id):
            ui.navigate.to(address)


def node_title(node: LineageNode) -> str:
    """Give a node's title, its id shortened where it is one.

    >>> node_title(LineageNode(id="job:0199f3c2-1111-7222-8333-0123456789ab", kind="job",
    ...     title="job 0199f3c2-1111-7222-8333-0123456789ab", figures={}, created_at=None, created_by=""))
    'job …456789ab'
    """
    return " ".join(format.tail(word) for word in node.title.split(" "))


def node_address(model: str, node_id: str) -> str:
    """Give the page of a node; empty where it has none.

    >>> node_address("digits", "version:3"), node_address("digits", "local-dataset:theirs")
    ('/models/digits?version=3', '')
    """
    kind, _, name = node_id.partition(":")
    pages = {
        "version": f"/models/{model}?version={name}",
        "dataset": "/datasets",
        "run": f"/federated-runs/{name}",
        "job": f"/jobs/{name}",
        "device": f"/devices/{name}",
    }
    return pages.get(kind, "")


def thing(node: LineageNode) -> Thing:
    """Give a node as it is drawn."""
    said = [node.title, *(recipes.figure(name, value) for name, value in node.figures.items())]
    if node.created_at is not None:
        by = f" by {node.created_by}" if node.created_by else ""
        said.append(f"made {node.created_at:%Y-%m-%d %H:%M} UTC{by}")
    return Thing(id=node.id, kind=node.kind, title=node_title(node), told="\n".join(said))


def node_row(model: str, node: LineageNode, edges: Edges, titles: dict[str, str], now: datetime) -> dict[str, Any]:
    """Give a node as a row."""
    address, title = node_address(model, node.id), node_title(node)
    made_of = [f"{titles.get(source, source)} ({role})" for role, source in edges.into.get(node.id, [])]
    return {
        "id": node.id,
        "what": table.link(title, address, title=node.title) if address else table.clipped(title),
        "kind": node.kind,
        "of": ", ".join(made_of),
        "figures": ", ".join(recipes.figure(name, value) for name, value in node.figures.items()),
        "made": table.noted(format.age(node.created_at, now), f"by {node.created_by}" if node.created_by else "")
        if node.created_at
        else "",
    }


def _now() -> datetime:
    return datetime.now(UTC)
