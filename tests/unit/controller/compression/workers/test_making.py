"""What earlier units of a job found out is not found out again."""

from pathlib import Path
from typing import Any

import pytest

from controller.compression.choosing.recipe import NETWORK, digest
from controller.compression.workers.making import Maker
from controller.jobs.work import JobRefused, Level, Task
from controller.settings import Settings

DISTILL: dict[str, Any] = {"op": "distill", "width": 0.5}
PRUNE: dict[str, Any] = {"op": "prune", "keep": 0.5}


class Silent:
    def progress(self, share: float, message: str) -> None:
        """Nobody listens."""

    def log(self, level: Level, text: str) -> None:
        """Nobody listens."""

    def keep(self, name: str, value: Any) -> None:
        """Nobody listens."""

    def trial(self, trial: Any) -> None:
        """Nobody listens."""


@pytest.mark.parametrize("steps", [[DISTILL], [DISTILL, PRUNE]], ids=["the same", "one that begins so"])
def test_network_when_another_unit_could_not_train_it_then_is_refused_at_once(
    tmp_path: Path, steps: list[dict[str, Any]]
) -> None:
    kept = {f"{NETWORK}{digest([DISTILL])}": {"code": "distill.no_gain", "message": "so"}}
    settings = Settings(state=tmp_path)
    spec = {"format": "program", "program": "1" * 64, "weights": "2" * 64, "kept": kept}
    task = Task(spec=spec, blobs=settings.blobs_at(), state=tmp_path, allow_unisolated=False)
    with pytest.raises(JobRefused) as caught:
        Maker(task, Silent()).make(steps, "onnxruntime")
    assert (caught.value.code, caught.value.message) == ("distill.no_gain", "so")
