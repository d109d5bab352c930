"""The checks at the end of each step: what they let through, and what they stop."""

import json
from pathlib import Path
from typing import Any

import pytest

from scenarios.digits.report import Report, check_federated, check_incremental, check_variants
from scenarios.errors import StepFailed


def variants(int8_accuracy: float = 0.95, int8_bytes: int = 300) -> list[dict[str, Any]]:
    small = {"recipe": "int8", "accuracy": int8_accuracy, "size_bytes": int8_bytes}
    return [
        {"recipe": "fp32", "runtime": "onnxruntime", "accuracy": 0.96, "size_bytes": 1000},
        {**small, "runtime": "onnxruntime"},
        {**small, "runtime": "openvino"},
    ]


def rounds(last: float, baseline: float, count: int = 10) -> dict[str, Any]:
    return {"baseline_accuracy": baseline, "rounds": [{"accuracy": last}] * count}


def test_variants_when_int8_loses_a_point_then_pass() -> None:
    check_variants(variants())


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (variants(int8_accuracy=0.94), "accuracy"),
        (variants(int8_bytes=301), "size"),
        (variants()[:2], "Of the variants"),
    ],
)
def test_variants_when_one_is_bad_or_missing_then_stop(made: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(StepFailed, match=said):
        check_variants(made)


def test_federated_when_it_helped_then_passes() -> None:
    check_federated(rounds(0.95, 0.6))


@pytest.mark.parametrize("figures", [rounds(0.92, 0.6), rounds(0.95, 0.81), rounds(0.95, 0.6, count=9)])
def test_federated_when_it_did_not_help_enough_then_stops(figures: dict[str, Any]) -> None:
    with pytest.raises(StepFailed):
        check_federated(figures)


def test_incremental_when_the_new_is_learned_and_the_old_kept_then_passes() -> None:
    check_incremental({"new_before": 0.0, "new_after": 0.6, "old_before": 0.97, "old_after": 0.94})


@pytest.mark.parametrize(
    "figures",
    [
        {"new_before": 0.0, "new_after": 0.49, "old_before": 0.97, "old_after": 0.97},
        {"new_before": 0.0, "new_after": 0.9, "old_before": 0.97, "old_after": 0.93},
    ],
)
def test_incremental_when_little_is_learned_or_much_forgotten_then_stops(figures: dict[str, Any]) -> None:
    with pytest.raises(StepFailed):
        check_incremental(figures)


def test_report_when_written_then_holds_what_was_measured(tmp_path: Path) -> None:
    Report(devices={"expected": 6, "enrolled": 6, "online": 6}, duration_s=1.5).write(tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["devices"]["online"] == 6
    assert set(told) == {
        *("devices", "variants", "rollouts", "inference", "federated", "incremental", "duration_s"),
    }
