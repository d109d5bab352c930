"""What recipes mean, and which are refused before a job starts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.compression.choosing import recipe
from controller.compression.choosing.recipe import PRESETS, Given, Pipeline, plan
from controller.errors import Invalid
from shoal.schemas.recipes import Recipe

STATIC = PRESETS["int8"][0]
NNCF = PRESETS["int8-nncf"][0]
PRUNE: dict[str, Any] = {"op": "prune", "keep": 0.5}
DISTILL: dict[str, Any] = {"op": "distill", "width": 0.5}
BINARIZE: dict[str, Any] = {"op": "binarize", "ends": "int8"}
AWARE = {**STATIC, "aware": {"epochs": 4}}
PLAIN = Given(named={})
TRAINABLE = Given(has_training=True, named={})


def steps_of(name: str) -> list[dict[str, Any]]:
    return [dict(step) for step in PRESETS[name]]


def test_plan_when_given_recipes_then_float32_comes_first_and_what_trains_last() -> None:
    made = plan(
        [("half", [PRUNE], ["onnxruntime"]), ("int8", None, ["onnxruntime", "openvino"]), ("fp32", None, ["litert"])],
        TRAINABLE,
    )
    assert made == [
        Pipeline("fp32", (), ("litert",)),
        Pipeline("int8", (STATIC,), ("onnxruntime", "openvino")),
        Pipeline("half", (PRUNE,), ("onnxruntime",)),
    ]


@pytest.mark.parametrize("name", ["fp16", "int8", "int8-dynamic", "int8-nncf"])
def test_preset_when_its_steps_are_spelt_out_then_is_the_same_pipeline(name: str) -> None:
    body = Recipe.model_validate({"name": name, "steps": steps_of(name), "runtimes": ["openvino"]})
    steps = [step.model_dump(mode="json") for step in body.steps or []]
    assert plan([(name, steps, ["openvino"])], PLAIN) == plan([(name, None, ["openvino"])], PLAIN)


def test_name_when_a_variant_has_it_then_its_steps_need_not_be_said() -> None:
    known = Given(has_training=True, named={"half": [PRUNE]})
    assert plan([("half", None, ["openvino"])], known) == [Pipeline("half", (PRUNE,), ("openvino",))]


@pytest.mark.parametrize(
    ("recipes", "given", "code"),
    [
        ([("int8", None, ["openvino", "openvino"])], PLAIN, "recipe.duplicate"),
        ([("int8", None, ["openvino"]), ("int8", None, ["openvino"])], PLAIN, "recipe.duplicate"),
        ([("int3", None, ["openvino"])], PLAIN, "recipe.unknown"),
        ([("int8", [PRUNE], ["openvino"])], TRAINABLE, "recipe.name_taken"),
        ([("a", [PRUNE], ["openvino"])], Given(has_training=True, named={"a": [BINARIZE]}), "recipe.name_taken"),
        ([("a", [STATIC, PRUNE], ["openvino"])], TRAINABLE, "recipe.bad_order"),
        ([("a", [PRUNE, DISTILL], ["openvino"])], TRAINABLE, "recipe.bad_order"),
        ([("a", [PRUNE, PRUNE], ["openvino"])], TRAINABLE, "recipe.bad_order"),
        ([("a", [BINARIZE, STATIC], ["openvino"])], TRAINABLE, "recipe.bad_order"),
        ([("a", [{**STATIC, "mode": "fp16", "float_layers": 2}], ["openvino"])], PLAIN, "recipe.bad_step"),
        ([("a", [{**AWARE, "mode": "dynamic"}], ["openvino"])], TRAINABLE, "recipe.bad_step"),
        ([("a", [PRUNE], ["openvino"])], PLAIN, "recipe.needs_training"),
        ([("a", [AWARE], ["openvino"])], PLAIN, "recipe.needs_training"),
        ([("int8", None, ["openvino"])], Given(calibration_samples=3, named={}), "recipe.needs_calibration"),
        ([("a", [BINARIZE], ["litert"])], TRAINABLE, "recipe.not_for_runtime"),
        ([("fp16", None, ["executorch"])], PLAIN, "recipe.not_for_runtime"),
        ([("fp32", None, ["edgeimpulse"])], PLAIN, "recipe.not_for_runtime"),
        ([("a", [{**STATIC, "float_layers": 2}], ["litert"])], PLAIN, "recipe.not_for_runtime"),
        ([("a", [{**STATIC, "calibration": "entropy"}], ["litert"])], PLAIN, "recipe.not_for_runtime"),
        ([("int8-nncf", None, ["onnxruntime"])], PLAIN, "recipe.not_for_runtime"),
        ([("a", [{**NNCF, "float_layers": 2}], ["openvino"])], PLAIN, "recipe.not_for_runtime"),
        ([("a", [{**NNCF, "calibration": "entropy"}], ["openvino"])], PLAIN, "recipe.not_for_runtime"),
        ([("a", [{**NNCF, "mode": "fp16"}], ["openvino"])], PLAIN, "recipe.bad_step"),
        ([("as-is", None, ["openvino"])], PLAIN, "recipe.not_for_format"),
        ([("a", [PRUNE], ["openvino"])], Given(format="onnx", has_training=True, named={}), "recipe.not_for_format"),
        ([("fp32", None, ["litert"])], Given(format="onnx", named={}), "recipe.not_for_format"),
        ([("fp32", None, ["litert"])], Given(format="tflite", named={}), "recipe.not_for_format"),
        ([("as-is", None, ["executorch"])], Given(format="tflite", named={}), "recipe.not_for_format"),
    ],
)
def test_plan_when_wrong_then_is_refused_by_name(recipes: list[Any], given: Given, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        plan(recipes, given)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("format", "name", "runtime"),
    [
        ("onnx", "fp32", "openvino"),
        ("onnx", "int8", "onnxruntime"),
        ("onnx", "int8-dynamic", "onnxruntime"),
        ("onnx", "int8-nncf", "openvino"),
        ("program", "int8-nncf", "openvino"),
        ("onnx", "fp16", "openvino"),
        ("tflite", "as-is", "litert"),
        ("tflite", "as-is", "armnn"),
        ("eim", "as-is", "edgeimpulse"),
        ("pte", "as-is", "executorch"),
        ("ptl", "as-is", "torchscript"),
        ("program", "int8", "litert"),
        ("program", "int8-dynamic", "executorch"),
        ("program", "fp32", "armnn"),
    ],
)
def test_plan_when_a_runtime_can_have_it_then_is_accepted(format: str, name: str, runtime: str) -> None:
    assert plan([(name, None, [runtime])], Given(format=format, named={}))[0].runtimes == (runtime,)


STEPS = st.lists(st.sampled_from([PRUNE, DISTILL, BINARIZE, STATIC, AWARE]), max_size=4)


@given(STEPS, st.sampled_from(["onnxruntime", "litert", "torchscript", "armnn"]))
def test_plan_when_accepted_then_has_one_of_each_step_in_order_and_a_file_for_the_runtime(
    steps: list[Any], runtime: str
) -> None:
    order = ["distill", "prune", "binarize", "quantize"]
    operations = [step["op"] for step in steps]
    is_sound = operations == sorted(set(operations), key=order.index) and not {"binarize", "quantize"} <= set(
        operations
    )
    is_able = runtime == "onnxruntime" or "binarize" not in operations
    try:
        plan([("a", steps, [runtime])], TRAINABLE)
    except Invalid as error:
        assert error.code in ("recipe.bad_order", "recipe.not_for_runtime")
        assert not (is_sound and is_able)
    else:
        assert is_sound and is_able
        assert recipe.precision(steps) in ("fp32", "int8")
