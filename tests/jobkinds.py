"""What jobs of the tests do on a worker of Ray."""

import os
import time
from pathlib import Path
from typing import Any

from controller.jobs.work import JobFailed, JobRefused, Report, Task


def succeed(task: Task, report: Report) -> dict[str, Any]:
    """Report a trial for each name."""
    for name in task.spec["trials"]:
        report.trial({"name": name})
    return {"pid": os.getpid()}


def wait(task: Task, report: Report) -> dict[str, Any]:
    """Report a trial and progress, then wait until a file is there."""
    report.trial({"name": "first"})
    report.progress(0.5, "Half.")
    while not Path(task.spec["file"]).exists():
        os.sched_yield()
    return {}


def refuse(task: Task, report: Report) -> dict[str, Any]:
    """Fail by name with a part of the result."""
    raise JobFailed("golden.failed", "It answers wrongly.", {"variants": []})


def decline(task: Task, report: Report) -> dict[str, Any]:
    """Say that it cannot be done within what was asked."""
    raise JobRefused("budget.not_met", "The best has 0.8.", {"closest": 0.8})


def fill(task: Task, report: Report) -> dict[str, Any]:
    """Write where there is no room."""
    Path("/dev/full").write_bytes(b"x")
    return {}


def talk(task: Task, report: Report) -> dict[str, Any]:
    """Write more lines than a second may have, and one in the next second."""
    for number in range(100):
        report.log("info", f"line {number}")
    time.sleep(1.1)
    report.log("error", "at last")
    return {}


def step(task: Task, report: Report) -> dict[str, Any]:
    """Work on one of a job's units: say who does it, wait for its file where it has one, and hand its trial over."""
    Path(task.spec["folder"], f"{task.spec['unit']}.{os.getpid()}").touch()
    report.log("info", f"{task.spec['unit']} begins")
    report.progress(0.5, f"{task.spec['unit']} is half done.")
    while task.spec["waits"] and not Path(task.spec["folder"], "go").exists():
        time.sleep(0.01)
    report.keep(task.spec["unit"], os.getpid())
    report.trial({"name": task.spec["unit"], "kept": sorted(task.spec["kept"])})
    return {}


def stumble(task: Task, report: Report) -> dict[str, Any]:
    """Fail as a defect does."""
    raise ZeroDivisionError("a defect")


def vanish(task: Task, report: Report) -> dict[str, Any]:
    """End the worker as a native crash does."""
    os._exit(3)
