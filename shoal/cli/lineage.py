"""A model's lineage as a tree in the terminal: versions under the versions that they were made from."""

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text
from rich.tree import Tree

from shoal.cli import figures
from shoal.schemas.artifacts import Lineage, LineageEdge, LineageNode

_PERCENT: Final = ("accuracy", "agreement")


def tree_of(model: str, lineage: Lineage) -> Tree:
    """Give the tree: below each version what made it, its variants, and the versions made from it."""
    nodes = {node.id: node for node in lineage.nodes}
    tree = Tree(Text(figures.printable(model), style="bold"))
    with_parent = {edge.target for edge in lineage.edges if edge.role == "parent"}
    for node in lineage.nodes:
        if node.kind == "version" and node.id not in with_parent:
            _grow(tree, node, nodes, lineage.edges)
    return tree


def _grow(tree: Tree, node: LineageNode, nodes: dict[str, LineageNode], edges: Sequence[LineageEdge]) -> None:
    branch = tree.add(_say(node))
    made = [edge for edge in edges if edge.target == node.id and edge.role != "parent"]
    for edge in made:
        source = nodes.get(edge.source)
        if source is not None:
            branch.add(Text(f"{edge.role}: {figures.printable(source.title)}", style="dim"))
    for edge in edges:
        if edge.source == node.id and edge.role == "parent" and edge.target in nodes:
            _grow(branch, nodes[edge.target], nodes, edges)


def _say(node: LineageNode) -> Text:
    said = Text(figures.printable(node.title))
    words = ", ".join(figures.printable(_figure(name, value)) for name, value in node.figures.items() if value)
    by = f" by {node.created_by}" if node.created_by else ""
    when = f"{figures.text(node.created_at)}{by}" if node.created_at is not None else ""
    if detail := "; ".join(part for part in (words, when) if part):
        said.append(f"  {detail}", style="dim")
    return said


def _figure(name: str, value: Any) -> str:
    if name in _PERCENT or name.startswith("accuracy on "):
        return f"{name} {figures.percent(value)}"
    if name == "size_bytes":
        return figures.size(value)
    if name == "latency_p50_ms":
        return f"{value:.3f} ms"
    return figures.text(value)
