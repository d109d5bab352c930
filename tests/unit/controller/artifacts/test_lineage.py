"""The graph of where a model comes from."""

from datetime import UTC, datetime, timedelta
from typing import Any

from controller.artifacts.lineage import DatasetFacts, Edge, VariantFacts, VersionFacts, graph_of

AT = datetime(2026, 1, 1, tzinfo=UTC)


def version(number: int, *, source: str = "uploaded", parent: int | None = None, **lineage: Any) -> VersionFacts:
    return VersionFacts(
        number=number,
        source=source,
        format="program",
        parent=parent,
        lineage=lineage,
        figures={"accuracy on held": 0.5},
        created_at=AT,
        created_by="ann",
    )


def variant(name: str, of: int, later_s: int = 0, **lineage: Any) -> VariantFacts:
    return VariantFacts(
        id=name,
        version=of,
        recipe="int8",
        runtime="openvino",
        job_id="j",
        lineage=lineage,
        figures={"accuracy": 0.9, "size_bytes": 9},
        created_at=AT + timedelta(seconds=later_s),
    )


def dataset(name: str, role: str) -> DatasetFacts:
    return DatasetFacts(id=f"id-{name}", name=name, role=role, samples=9, created_at=AT, created_by="ann")


def edges(*facts: Any) -> set[tuple[str, str, str]]:
    return {(edge.source, edge.role, edge.target) for edge in graph_of(*facts).edges}


def test_graph_when_a_variant_was_made_then_shows_its_version_job_and_data_sets() -> None:
    made = variant("w", 1, datasets={"calibration": "id-own", "golden": "few"}, libraries={"onnx": "1"})
    data = [dataset("own", "calibration"), dataset("few", "golden"), dataset("unused", "golden")]
    graph = graph_of([version(1)], [made], data)
    assert {node.id for node in graph.nodes} == {"version:1", "variant:w", "job:j", "dataset:own", "dataset:few"}
    assert {(edge.source, edge.role) for edge in graph.edges if edge.target == "variant:w"} == {
        ("version:1", "parent"),
        ("job:j", "made"),
        ("dataset:own", "calibration"),
        ("dataset:few", "golden"),
    }
    (shown,) = [node for node in graph.nodes if node.id == "variant:w"]
    assert shown.figures == {"accuracy": 0.9, "size_bytes": 9, "libraries": {"onnx": "1"}}


def test_graph_when_devices_trained_then_their_data_set_is_not_the_registrys_of_that_name() -> None:
    learned = version(
        2, source="federated", parent=1, run="r", datasets={"training": "own", "evaluation": "held"}, devices=["d-a"]
    )
    data = [dataset("own", "training"), dataset("held", "evaluation")]
    assert edges([version(1), learned], [], data) == {
        ("version:1", "parent", "version:2"),
        ("run:r", "made", "version:2"),
        ("local-dataset:own", "training", "version:2"),
        ("dataset:held", "evaluation", "version:2"),
    }


def test_graph_when_two_share_a_maker_then_has_each_node_and_edge_once() -> None:
    graph = graph_of([version(2, source="incremental", parent=1, device="d-a"), version(1)], [variant("a", 1, 9)], [])
    both = graph_of([version(1)], [variant("b", 1, 9), variant("a", 1)], [])
    assert [node.id for node in both.nodes] == ["version:1", "variant:a", "job:j", "variant:b"]
    assert len(set(graph.edges)) == len(graph.edges)
    assert Edge(source="device:d-a", target="version:2", role="made") in graph.edges
