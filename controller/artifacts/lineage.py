"""Where versions come from, what data sets are for, and the graph of where everything of a model comes from. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

_FIGURES: Final = ("accuracy", "agreement", "size_bytes", "latency_p50_ms")


class DatasetRole(StrEnum):
    """What a data set is used for."""

    CALIBRATION = "calibration"
    EVALUATION = "evaluation"
    TRAINING = "training"
    GOLDEN = "golden"


class VersionSource(StrEnum):
    """What made a version."""

    UPLOADED = "uploaded"
    FEDERATED = "federated"
    INCREMENTAL = "incremental"


class VersionState(StrEnum):
    """Whether a version may be used: it was found to be what it should be, or is not yet, or never will."""

    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """A version as its row has it.

    Attributes:
        lineage: `run`, `device`, `job`, `datasets` {role: name}, as far as they say what made it.
        figures: A score by data set.
    """

    number: int
    source: str
    format: str
    parent: int | None
    lineage: Mapping[str, Any]
    figures: Mapping[str, Any]
    created_at: datetime
    created_by: str


@dataclass(frozen=True, kw_only=True)
class VariantFacts:
    """A variant as its row has it; `figures` as `Variant` of the API has them."""

    id: str
    version: int
    recipe: str
    runtime: str
    job_id: str
    lineage: Mapping[str, Any]
    figures: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A data set as its row has it."""

    id: str
    name: str
    role: str
    samples: int
    created_at: datetime
    created_by: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """Something in the graph; see `shoal.schemas.artifacts.LineageNode`."""

    id: str
    kind: str
    title: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    created_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`source` went into `target`, as what `role` says."""

    source: str
    target: str
    role: str


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes and edges, each once."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(
    versions: Sequence[VersionFacts], variants: Sequence[VariantFacts], datasets: Sequence[DatasetFacts]
) -> Graph:
    """Give the graph of a model: what made what, the oldest first.

    Args:
        datasets: At least those that the lineages name, by name or id.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> first = VersionFacts(number=1, source="uploaded", format="program", parent=None, lineage={}, figures={},
    ...                      created_at=at, created_by="ann")
    >>> second = VersionFacts(number=2, source="federated", format="program", parent=1, lineage={"run": "r"},
    ...                       figures={}, created_at=at, created_by="ann")
    >>> [f"{edge.source} {edge.role} {edge.target}" for edge in graph_of([second, first], [], []).edges]
    ['version:1 parent version:2', 'run:r made version:2']
    """
    known = {name: dataset for dataset in datasets for name in (dataset.id, dataset.name)}
    nodes: dict[str, Node] = {}
    edges: dict[Edge, None] = {}
    for version in sorted(versions, key=lambda one: one.number):
        id_ = f"version:{version.number}"
        nodes[id_] = Node(
            id=id_,
            kind="version",
            title=f"version {version.number}",
            figures={
                "source": version.source,
                "format": version.format,
                **_told(version.lineage, "code"),
                **version.figures,
            },
            created_at=version.created_at,
            created_by=version.created_by,
        )
        if version.parent is not None:
            edges[Edge(source=f"version:{version.parent}", target=id_, role="parent")] = None
        is_learned = version.source != VersionSource.UPLOADED
        _add(nodes, edges, id_, [*_makers(version.lineage), *_data(version.lineage, known, is_learned=is_learned)])
    for variant in sorted(variants, key=lambda one: (one.created_at, one.id)):
        id_ = f"variant:{variant.id}"
        nodes[id_] = Node(
            id=id_,
            kind="variant",
            title=f"{variant.recipe} for {variant.runtime}",
            figures={
                **{name: variant.figures[name] for name in _FIGURES if name in variant.figures},
                **_told(variant.lineage, "code", "libraries"),
            },
            created_at=variant.created_at,
        )
        edges[Edge(source=f"version:{variant.version}", target=id_, role="parent")] = None
        made = {"job": variant.job_id, **variant.lineage} if variant.job_id else variant.lineage
        _add(nodes, edges, id_, [*_makers(made), *_data(variant.lineage, known)])
    return Graph(nodes=tuple(nodes.values()), edges=tuple(edges))


def _add(nodes: dict[str, Node], edges: dict[Edge, None], target: str, found: Sequence[tuple[Node, str]]) -> None:
    for node, role in found:
        nodes.setdefault(node.id, node)
        edges[Edge(source=node.id, target=target, role=role)] = None


def _told(lineage: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: lineage[name] for name in names if name in lineage}


def _makers(lineage: Mapping[str, Any]) -> Iterator[tuple[Node, str]]:
    """Give the run, the devices and the job that made something."""
    for kind in ("run", "job", "device"):
        if said := lineage.get(kind):
            yield Node(id=f"{kind}:{said}", kind=kind, title=f"{kind} {said}"), "made"


def _data(
    lineage: Mapping[str, Any], known: Mapping[str, DatasetFacts], *, is_learned: bool = False
) -> Iterator[tuple[Node, str]]:
    """Give the data sets that went into something.

    Args:
        is_learned: Whether devices trained it: on a data set of theirs, which the registry never saw, whatever its
            name.
    """
    for role, name in dict(lineage.get("datasets", {})).items():
        dataset = None if is_learned and role == DatasetRole.TRAINING else known.get(str(name))
        if dataset is None:
            yield Node(id=f"local-dataset:{name}", kind="dataset", title=f"{name}, on devices"), str(role)
            continue
        node = Node(
            id=f"dataset:{dataset.name}",
            kind="dataset",
            title=dataset.name,
            figures={"role": dataset.role, "samples": dataset.samples},
            created_at=dataset.created_at,
            created_by=dataset.created_by,
        )
        yield node, str(role)
