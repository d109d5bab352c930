"""What jobs of the tests do on a worker of Ray."""

import os
from pathlib import Path
from typing import Any

from controller.jobs.work import JobFailed, Report, Task


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


def stumble(task: Task, report: Report) -> dict[str, Any]:
    """Fail as a defect does."""
    raise ZeroDivisionError("a defect")


def vanish(task: Task, report: Report) -> dict[str, Any]:
    """End the worker as a native crash does."""
    os._exit(3)
