"""The catalogue of boards: Shoal's own, and what is refused of an operator's."""

import json
from pathlib import Path
from typing import Any

import pytest

from controller.errors import Invalid
from controller.profiles import boards
from shoal.schemas.recipes import RuntimeName

GOOD: dict[str, Any] = {
    "name": "b",
    "title": "B",
    "figures": {"load_w": {"value": 2.0, "unit": "W", "source": "a data sheet"}},
}


def written(folder: Path, *found: dict[str, Any]) -> Path:
    path = folder / "boards.json"
    path.write_text(json.dumps({"boards": list(found)}))
    return path


def test_catalogue_when_it_is_ours_then_every_figure_names_a_document() -> None:
    catalogue = boards.read()
    assert {"raspberry-pi-4", "raspberry-pi-5", "jetson-nano", "cortex-m"} <= {board.name for board in catalogue}
    assert all("https://" in figure.source for board in catalogue for figure in board.figures.values())
    runtimes = {runtime for board in catalogue for runtime in board.runtimes}
    assert runtimes <= set(RuntimeName.__args__)  # type: ignore[attr-defined]


def test_catalogue_when_an_operator_has_one_then_it_is_read(tmp_path: Path) -> None:
    assert [board.title for board in boards.read(written(tmp_path, GOOD))] == ["B"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "No Name"},
        {"speed": 3},
        {"figures": {"price": {"value": 1, "unit": "EUR", "source": "x"}}},
        {"figures": {"load_w": {"value": 1, "unit": "W"}}},
        {"figures": {"load_w": {"value": 9, "most": 1, "unit": "W", "source": "x"}}},
    ],
)
def test_catalogue_when_something_in_it_is_wrong_then_is_refused_by_name(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refusal:
        boards.read(written(tmp_path, {**GOOD, **wrong}))
    assert refusal.value.code == "boards.malformed"


def test_catalogue_when_a_board_comes_twice_or_the_file_is_not_there_then_is_refused(tmp_path: Path) -> None:
    for path in (written(tmp_path, GOOD, GOOD), tmp_path / "none.json"):
        with pytest.raises(Invalid, match="catalogue"):
            boards.read(path)
