"""What a compression plans, and what it refuses."""

import pytest

from controller.compression.recipe import Trial, plan
from controller.errors import Invalid


def test_plan_when_given_recipes_then_float32_comes_first() -> None:
    assert plan([("int8", ["onnxruntime", "openvino"]), ("fp32", ["onnxruntime"])]) == [
        Trial("fp32", "onnxruntime"),
        Trial("int8", "onnxruntime"),
        Trial("int8", "openvino"),
    ]


@pytest.mark.parametrize(
    ("recipes", "code"),
    [
        ([("int8", ["openvino", "openvino"])], "recipe.duplicate"),
        ([("int8", ["openvino"]), ("int8", ["openvino"])], "recipe.duplicate"),
        ([("int3", ["openvino"])], "recipe.unknown"),
    ],
)
def test_plan_when_wrong_then_is_refused_by_name(recipes: list[tuple[str, list[str]]], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        plan(recipes)
    assert caught.value.code == code
