"""How answers are shown: classes where there are some, else the numbers."""

from datetime import UTC, datetime
from typing import Any

from shoal.cli.inference import _parts
from shoal.schemas.artifacts import Model
from shoal.schemas.signatures import Signature

SIGNATURE = Signature.model_validate(
    {name: [{"name": name, "datatype": "FP32", "shape": [-1, 2]}] for name in ("inputs", "outputs")}
)


def model(task: str) -> Model:
    return Model(
        name="m",
        task=task,
        signature=SIGNATURE,
        preprocessing=[],
        class_labels=["cat", "dog"],
        licence="",
        versions=1,
        created_at=datetime.now(UTC),
    )


def rows(task: str, *outputs: dict[str, Any]) -> list[list[list[Any]]]:
    parts = _parts(list(outputs), model(task))
    return [[[column.of(item) for column in part.columns] for item in part.items] for part in parts]


def output(name: str, shape: list[int], data: list[float]) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": shape, "data": data}


def test_answer_when_of_a_classifier_then_shows_the_class_and_what_else_came() -> None:
    classes, others = rows(
        "classification", output("logits", [2, 2], [0.25, 1, 3, 2]), output("more", [2, 1], [0.5, 7])
    )
    assert classes == [[0, "dog", "1.0000"], [1, "cat", "3.0000"]]
    assert others == [[0, "more", "0.5"], [1, "more", "7"]]


def test_answer_when_of_another_model_then_shows_its_numbers_and_of_many_the_first() -> None:
    ((row,),) = rows("regression", output("y", [1, 3, 4], [float(number) for number in range(12)]))
    assert row == [0, "y", "0, 1, 2, 3, 4, 5, 6, 7 ... (12 in all)"]
