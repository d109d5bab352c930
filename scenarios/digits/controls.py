"""What every step of the voyage works with: the client, the split, the devices, and how to wait."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Final, Self, TypeVar

from scenarios.digits import plan
from scenarios.digits.data import load_split
from scenarios.digits.report import Report, require
from scenarios.errors import StepFailed
from scenarios.fleet import Address
from scenarios.stage import Stage
from shoal.client import Client
from shoal.schemas.artifacts import EvaluationRequest
from shoal.schemas.devices import Device
from shoal.schemas.jobs import Job

T = TypeVar("T")
_OPEN: Final = frozenset({"queued", "running"})


class Controls:
    """A system that runs already; a context manager that ends the agents.

    Attributes:
        devices: By number, once they are enrolled.
        opened: What ends with the voyage.
    """

    def __init__(
        self, *, client: Client, stage: Stage, report: Report, address: Address, state: Path, seed: int
    ) -> None:
        self.client = client
        self.stage = stage
        self.report = report
        self.address = address
        self.state = state
        self.seed = seed
        self.opened = ExitStack()
        self.split = load_split(plan.DEVICES, seed)
        self.processes: list[Popen[str]] = []
        self.devices: list[Device] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def wait(self, what: str, look: Callable[[], tuple[float, str, T | None]], timeout_s: float) -> T:
        """Look until something is there; see `Stage.wait`."""
        return self.stage.wait(what, look, timeout_s=timeout_s, alive=self.alive)

    def alive(self) -> None:
        """Check that every agent lives.

        Raises:
            StepFailed: One ended.
        """
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                raise StepFailed(f"The agent of device {number} ended with {process.returncode}; see its agent.log.")

    def finish(self, job: Job, what: str) -> None:
        """Wait for a job to succeed.

        Raises:
            StepFailed: It did not.
        """

        def look() -> tuple[float, str, Job | None]:
            now = self.client.jobs.show(job.id)
            return now.progress, now.message, None if now.state in _OPEN else now

        ended = self.wait(what, look, 150)
        require(ended.state == "succeeded", f"{what} {ended.state}: {ended.message} [{ended.code}]")

    def accuracy(self, version: int, dataset: str) -> float:
        """Give a version's accuracy, measured by the controller if it was not yet."""

        def found() -> float | None:
            evaluations = self.client.models.show_version(plan.MODEL, version).evaluations
            return next((one.accuracy for one in evaluations if one.dataset == dataset), None)

        accuracy = found()
        if accuracy is None:
            job = self.client.models.evaluate(plan.MODEL, version, EvaluationRequest(dataset=dataset))
            self.finish(job, f"measuring version {version}")
            accuracy = found()
        require(accuracy is not None, f"Version {version} was not measured on {dataset}.")
        assert accuracy is not None
        return accuracy
