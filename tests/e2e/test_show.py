"""The scenarios about models, with what of them takes seconds; `photos` is for a person to sail."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scenarios.errors import StepFailed
from scenarios.packages import unpacked
from tests.e2e.test_demo import left_over
from tests.rig import free_port


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    try:
        unpacked("seglearn==1.2.5", "seglearn/data/watch_dataset.npy")
    except StepFailed as error:
        pytest.skip(f"needs the packages of the scenarios, by pip download: {error}")


def sailed(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "shoal.cli", "demo", name, "--exit", "--json", "--out", str(folder)]
    door = ["--dashboard-port", str(free_port())]  # another scenario may be under way
    done = subprocess.run([*command, *door, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    assert report == json.loads((folder / "report.json").read_text())
    assert left_over(folder) == []
    return report


@pytest.mark.timeout(600)
def test_watch_when_compressed_then_each_technique_is_inside_the_budget_or_refused_with_figures(tmp_path: Path) -> None:
    report = sailed("watch", tmp_path / "watch", "--models", "watch", "--techniques", "int8", "binary")
    tried = {row["recipe"]: row for row in report["watch"]["trials"]}
    assert {"fp32", "int8", "binary"} <= set(tried)
    assert tried["fp32"]["accuracy"] > 0.75
    assert {row["state"] for row in tried.values()} <= {"succeeded", "refused"}
    assert all(row["accuracy"] is not None for row in tried.values())


@pytest.mark.timeout(600)
def test_models_made_elsewhere_when_taken_then_go_the_whole_path(tmp_path: Path) -> None:
    report = sailed("elsewhere", tmp_path / "elsewhere", "--models", "orientation", "wake-word")
    shapes = {row["model"]: row["answers"] for row in report["models"]}
    assert shapes == {"text-orientation": "[1, 2] [1, 2]", "wake-word": "[1, 1]"}
    assert all(row["latency_p50_ms"] >= 0 for row in report["models"])
