"""What is typed about a model, and its lineage as a tree."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from shoal.cli import signatures
from shoal.cli.errors import CliError
from shoal.cli.lineage import tree_of
from shoal.schemas.artifacts import Lineage, LineageEdge, LineageNode


def test_signature_when_typed_then_names_may_have_colons_and_axes_may_be_free() -> None:
    made = signatures.parse_signature(["serving:0:uint8:-1,224,224,3", "b:FP32:-1,4"], ["y:FP32:-1,5"], None, [])
    assert made is not None
    assert [signatures.say_tensor(one) for one in made.inputs] == [
        "serving:0 UINT8 [-1, 224, 224, 3]",
        "b FP32 [-1, 4]",
    ]
    assert signatures.parse_signature(None, None, None, ["a"]) is None


@pytest.mark.parametrize(
    "typed",
    [
        (["x:FP32:-1,4"], None, None, []),
        (["x:FP32"], ["y:FP32:-1,4"], None, []),
        (["x:FP99:-1,4"], ["y:FP32:-1,4"], None, []),
        (["x:FP32:-1,four"], ["y:FP32:-1,4"], None, []),
        (None, None, "1,8,8", []),
        (["x:FP32:-1,4"], ["y:FP32:-1,4"], "4", ["a", "b"]),
    ],
)
def test_signature_when_it_cannot_be_read_then_is_usage(typed: tuple[Any, ...]) -> None:
    with pytest.raises(typer.BadParameter):
        signatures.parse_signature(*typed)


def test_classes_when_in_a_file_then_are_its_lines(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n\n dog \n")
    assert signatures.parse_classes(f"@{tmp_path / 'labels.txt'}") == ["cat", "dog"]


@pytest.mark.parametrize("text", ["{", '{"op": "scale"}', "[1]"])
def test_preprocessing_when_no_list_of_steps_then_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(CliError) as caught:
        signatures.read_preprocessing(tmp_path / "steps.json")
    assert caught.value.code == "preprocessing.unreadable"


def test_openvino_when_given_by_its_xml_then_is_one_zip_that_is_not_compressed(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_text("<net/>")
    with pytest.raises(CliError) as caught, signatures.one_file(tmp_path / "net.xml"):
        raise AssertionError
    assert caught.value.code == "model.bin_missing"
    (tmp_path / "net.bin").write_bytes(bytes(9))
    with signatures.one_file(tmp_path / "net.xml") as packed, zipfile.ZipFile(packed) as archive:
        kept = {entry.filename: entry.compress_type for entry in archive.infolist()}
    assert kept == {"model.xml": zipfile.ZIP_STORED, "model.bin": zipfile.ZIP_STORED}
    with signatures.one_file(tmp_path / "net.onnx") as same:
        assert same == tmp_path / "net.onnx"


def node(id_: str, kind: str, title: str, **figures: Any) -> LineageNode:
    return LineageNode(id=id_, kind=kind, title=title, figures=figures, created_at=None, created_by="")


def test_lineage_when_drawn_then_versions_stand_under_their_parents() -> None:
    nodes = [
        node("version:1", "version", "version 1"),
        node("version:2", "version", "version 2"),
        node("run:r", "run", "run r"),
        node("variant:w", "variant", "int8 for \x1b[2Jopenvino", accuracy=0.5, size_bytes=2048),
    ]
    edges = [
        LineageEdge(source="version:1", target="version:2", role="parent"),
        LineageEdge(source="run:r", target="version:2", role="made"),
        LineageEdge(source="version:2", target="variant:w", role="parent"),
    ]
    console = Console(width=100, highlight=False)
    with console.capture() as drawn:
        console.print(tree_of("digits", Lineage(nodes=nodes, edges=edges)))
    assert [line.strip("│├└─ ") for line in drawn.get().splitlines()] == [
        "digits",
        "version 1",
        "version 2",
        "made: run r",
        "int8 for ?[2Jopenvino  accuracy 50.0 %, 2.0 KiB",
    ]
