"""What is typed becomes recipes and budgets, or is a usage error that says what to write."""

import json
from pathlib import Path

import pytest
import typer

from shoal.cli.compressions import parse_recipes, parse_size, read_recipe


def test_recipes_when_runtimes_are_not_said_then_is_for_onnxruntime() -> None:
    plain, said = parse_recipes(["int8", "fp16:openvino,litert"])
    assert (plain.name, plain.runtimes, plain.steps) == ("int8", ["onnxruntime"], None)
    assert (said.name, said.runtimes) == ("fp16", ["openvino", "litert"])


@pytest.mark.parametrize("said", ["int8:", "int8:tensorrt", "INT8", ":openvino", "int8:openvino,"])
def test_recipes_when_malformed_then_is_a_usage_error(said: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no recipe"):
        parse_recipes([said])


def test_recipe_file_when_read_then_has_its_steps(tmp_path: Path) -> None:
    steps = [{"op": "prune", "keep": 0.5}, {"op": "quantize"}]
    path = tmp_path / "half.json"
    path.write_text(json.dumps({"name": "half", "steps": steps, "runtimes": ["litert"]}))
    recipe = read_recipe(path)
    assert [step.op for step in recipe.steps or []] == ["prune", "quantize"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": "half"}', '{"name": "a", "steps": [{"op": "x"}]}'])
def test_recipe_file_when_it_is_none_then_is_a_usage_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "half.json"
    path.write_text(text)
    with pytest.raises(typer.BadParameter, match="is no"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("said", "size"), [("2MiB", 2 * 2**20), ("512 KiB", 512 * 2**10), ("7", 7), ("1.5GiB", 1.5 * 2**30)]
)
def test_size_when_it_has_a_unit_then_is_bytes(said: str, size: int) -> None:
    assert parse_size(said) == size


@pytest.mark.parametrize("said", ["", "0", "-1", "2MB", "MiB", "1e3"])
def test_size_when_malformed_then_is_a_usage_error(said: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no size"):
        parse_size(said)
