"""The first voyage as a newcomer starts it, on embedded parts; and Ctrl-C in the middle of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.rig import wait_for


def demo(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "shoal.cli", "demo", "digits", "--exit", "--out", str(folder), *arguments]


def left_over(folder: Path) -> list[str]:
    """Processes that name the demo's folder in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            said = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(folder) in text for text in said) and process.pid != os.getpid():
            found.append(" ".join(process.cmdline()))
    return found


@pytest.mark.timeout(600)
def test_demo_when_run_then_every_step_succeeds_and_the_report_says_what_was_measured(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(demo(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    report = json.loads((folder / "report.json").read_text())
    assert report["devices"] == {"expected": 6, "enrolled": 6, "online": 6}
    assert [(one["version"], one["state"], one["receipts"]) for one in report["rollouts"]] == [
        (1, "succeeded", 6),
        (2, "succeeded", 6),
    ]
    rounds = report["federated"]["rounds"]
    assert [entry["round"] for entry in rounds] == list(range(1, 11))
    assert {entry["updates"] for entry in rounds} == {6}
    assert rounds[-1]["accuracy"] >= max(0.93, report["federated"]["baseline_accuracy"] + 0.15)
    assert len(report["variants"]) == 6
    alone = report["incremental"]
    assert alone["new_after"] - alone["new_before"] >= 0.5
    assert alone["old_before"] - alone["old_after"] <= 0.03
    assert 0 < alone["noticed_after_samples"] <= 300
    assert min(report["inference"].values()) > 0
    assert left_over(folder) == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("said", ["enrol themselves", "Compress"])
def test_demo_when_interrupted_then_no_process_is_left(tmp_path: Path, said: str) -> None:
    folder = tmp_path / "demo"
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(demo(folder), stdout=output, stderr=output, start_new_session=True)
    wait_for(lambda: said in log.read_text(), 90)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert left_over(folder) == []
