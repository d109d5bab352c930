"""What is over a budget, by how much, and what comes closest."""

from typing import Any

import pytest

from controller.compression.choosing.budget import Budget, closest

BUDGET = Budget(min_accuracy=0.9, max_size_bytes=1000, max_latency_ms=2.0, latency_factors={"litert": 10.0})


def figures(accuracy: float, size: int, latency: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "size_bytes": size, "latency_p50_ms": latency}


@pytest.mark.parametrize(
    ("runtime", "found", "code"),
    [
        ("onnxruntime", figures(0.9, 1000, 2.0), None),
        ("onnxruntime", figures(0.89, 1000, 2.0), "accuracy.over_budget"),
        ("onnxruntime", figures(0.95, 1001, 0.1), "size.over_budget"),
        ("onnxruntime", figures(0.95, 10, 2.1), "latency.over_budget"),
        ("litert", figures(0.95, 10, 0.2), None),
        ("litert", figures(0.95, 10, 0.3), "latency.over_budget"),
        ("onnxruntime", figures(0.89, 2000, 0.1), "size.over_budget"),  # the worst of two
    ],
)
def test_budget_when_a_bound_is_crossed_then_names_the_worst(runtime: str, found: dict[str, Any], code: str) -> None:
    refusal = BUDGET.refusal(runtime, found)
    assert (None if refusal is None else refusal[0]) == code


def test_budget_when_made_of_a_request_then_counts_the_drop_from_the_versions_score() -> None:
    asked = {"max_accuracy_drop": 0.02, "max_size_bytes": None, "max_latency_ms": None}
    budget = Budget.of(asked, 0.97, {})
    assert budget.refusal("onnxruntime", figures(0.95, 10**9, 1e6)) is None
    assert budget.refusal("onnxruntime", figures(0.949, 1, 0.1)) is not None


def test_closest_when_all_are_over_then_is_the_one_with_the_least_excess() -> None:
    tried = [("a", figures(0.2, 10, 0.1)), ("a", figures(0.95, 1100, 0.1)), ("a", figures(0.95, 10, 4.0))]
    assert closest(BUDGET, tried) == 1
    assert closest(BUDGET, []) is None
