"""What scenarios about models share: the system, what is asked of it again and again, and how they start and end."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import Any, Final, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scenarios import fleet
from scenarios.errors import StepFailed
from scenarios.fleet import Address, AgentSettings
from scenarios.harbour import leave
from scenarios.stage import Stage
from shoal.client import ApiError, Client, Unreachable
from shoal.schemas.artifacts import DatasetRequest, DatasetRole, ModelRequest, Variant, Version, VersionRequest
from shoal.schemas.devices import Device, EnrollmentTokenRequest
from shoal.schemas.inference import InferInput, InferRequest
from shoal.schemas.jobs import CompressionRequest, Job, Trial
from shoal.schemas.profiles import Profile, ProfileRequest, Profiling
from shoal.schemas.rollouts import Rollout, RolloutRequest
from shoal.training.programs import ProgramFiles
from shoal.wire.tensors import encode_tensors

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]
Look = Callable[[], tuple[float, str, T | None]]

_OPEN: Final = frozenset({"queued", "running"})
_OPENING_S: Final = 300.0
_IMPORT_S: Final = 300.0
_COMPRESS_S: Final = 3600.0
_FLEET_S: Final = 180.0
_LOG_WIDTH: Final = 120  # columns of a table in a file


class Workbench:
    """A system that runs already.

    Attributes:
        report: What was measured, as it goes; written as JSON in the end.
        opened: What ends with the scenario.
    """

    def __init__(self, client: Client, show: Stage, address: Address, state: Path, opened: ExitStack) -> None:
        self.client = client
        self.stage = show
        self.address = address
        self.opened = opened
        self.report: dict[str, Any] = {}
        self._state = state
        self._agents: list[Popen[str]] = []

    def wait(self, what: str, look: Look[T], timeout_s: float) -> T:
        """Look until something is there; see `Stage.wait`."""
        return self.stage.wait(what, look, timeout_s=timeout_s, alive=self.alive)

    def alive(self) -> None:
        """Check that every agent lives.

        Raises:
            StepFailed: One ended.
        """
        for process in self._agents:
            if process.poll() is not None:
                raise StepFailed(f"An agent ended with {process.returncode}; see its agent.log under {self._state}.")

    def finish(self, job: Job, what: str, timeout_s: float = _COMPRESS_S) -> Job:
        """Wait until a job has ended, however it did."""

        def look() -> tuple[float, str, Job | None]:
            now = self.client.jobs.show(job.id)
            words = now.message if now.remaining_s is None else f"{now.message} ({now.remaining_s:.0f} s left)"
            return now.progress, words, None if now.state in _OPEN else now

        return self.wait(what, look, timeout_s)

    def dataset(self, name: str, role: DatasetRole, tensors: Arrays) -> None:
        """Upload a data set."""
        artifact = self.client.artifacts.create(encode_tensors(dict(tensors)))
        self.client.datasets.create(DatasetRequest(name=name, role=role, sha256=artifact.sha256))

    def images(self, name: str, role: DatasetRole, archive: bytes, model: str) -> None:
        """Import a zip of images as a data set that fits a model.

        Raises:
            StepFailed: It was refused.
        """
        artifact = self.client.artifacts.create(archive)
        labels = self.client.models.show(model).class_labels
        request = DatasetRequest(
            name=name, role=role, sha256=artifact.sha256, format="images", class_labels=labels, model=model
        )
        ended = self.finish(self.client.datasets.import_(request), f"importing {name}", _IMPORT_S)
        require(ended.state == "succeeded", f"{name} was not imported: {ended.message} [{ended.code}]")

    def register_program(self, model: ModelRequest, files: ProgramFiles, notes: str) -> Version:
        """Register a model with exported programs as its version 1."""
        request = VersionRequest(
            train_program=self.client.artifacts.create(files.train_program).sha256,
            eval_program=self.client.artifacts.create(files.eval_program).sha256,
            weights=self.client.artifacts.create(files.weights).sha256,
            notes=notes,
        )
        return self.register(model, request)

    def register(self, model: ModelRequest, version: VersionRequest) -> Version:
        """Register a model and its version 1, and wait until it was opened.

        Raises:
            StepFailed: It was refused.
        """
        self.client.models.create(model)
        made = self.client.models.create_version(model.name, version)

        def look() -> tuple[float, str, Version | None]:
            now = self.client.models.show_version(made.model, made.number)
            return 0.5, "opening it in the sandbox", None if now.state == "checking" else now

        found = self.wait(f"looking at {model.name}", look, _OPENING_S)
        require(found.state == "ready", f"{model.name} was refused: {found.message} [{found.code}]")
        return found

    def compress(self, request: CompressionRequest) -> tuple[Job, list[Trial]]:
        """Make variants; gives how the job ended, and what it tried."""
        job = self.finish(self.client.jobs.compress(request), f"compressing {request.model}")
        return job, self.client.jobs.trials(job.id, limit=500).items

    def variants(self, model: str) -> list[Variant]:
        """Give all variants of a model's version 1."""
        return self.client.models.list_variants(model, 1).items

    def device(self, name: str, runtimes: Sequence[str], python: str = sys.executable) -> Device:
        """Start an agent, and wait until it is online.

        Args:
            python: That it runs on; it may have other runtimes than this one.
        """
        token = self.client.enrollment_tokens.create(
            EnrollmentTokenRequest(name=name, labels={"name": name}, max_uses=1, expires_in_s=3600)
        ).token
        settings = AgentSettings(
            state=self._state / name,
            runtimes=",".join(runtimes),
            token=token,
            device_url=self.address.device_url,
            python=python,
        )
        self._agents += self.opened.enter_context(fleet.agents([settings]))

        def look() -> tuple[float, str, Device | None]:
            ready = [one for one in self.client.devices.list(limit=100).items if one.labels.get("name") == name]
            online = next((one for one in ready if one.online and one.facts.get("inference_url")), None)
            return 0.5, "", online

        return self.wait(f"enrolling {name}", look, _FLEET_S)

    def profile(self, model: str, device: Device, runs: int = 100) -> list[Profile]:
        """Let a device measure all variants of a model that it can run."""
        request = ProfileRequest(model=model, version=1, selector=f"id in ({device.id})", runs=runs)
        asked = self.client.profiles.create(request)
        count = sum(asked.executions.values())

        def look() -> tuple[float, str, Profiling | None]:
            now = self.client.profiles.show_request(asked.id)
            done = sum(now.executions.get(state, 0) for state in ("succeeded", "failed", "canceled", "timed_out"))
            return done / max(count, 1), f"{done} of {count}", now if done == count else None

        ended = self.wait(f"{device.labels['name']} measures {model}", look, _COMPRESS_S)
        require(set(ended.executions) == {"succeeded"}, f"The device measured {ended.executions} of {model}.")
        return self.client.profiles.list(model=model, limit=200).items

    def roll_out(self, model: str, selector: str) -> str:
        """Bring a model's version 1 to devices; gives the recipe and runtime that the first of them got.

        Raises:
            StepFailed: It did not succeed.
        """
        rollout = self.client.rollouts.create(RolloutRequest(model=model, version=1, selector=selector))

        def look() -> tuple[float, str, Rollout | None]:
            now = self.client.rollouts.show(rollout.id)
            words = f"{now.succeeded} of {now.devices} proven"
            return now.succeeded / max(now.devices, 1), words, None if now.state == "running" else now

        ended = self.wait(f"rolling out {model}", look, _FLEET_S)
        targets = self.client.rollouts.targets(rollout.id).items
        faults = "; ".join(target.message for target in targets if target.message)
        require(ended.state == "succeeded", f"The rollout of {model} is {ended.state}: {ended.message} {faults}")
        return f"{targets[0].recipe} on {targets[0].runtime}"

    def rest(self) -> None:
        """Wait until Ctrl-C, or until a process ends by itself."""
        while True:
            self.alive()
            time.sleep(1)


def require(holds: bool, message: str) -> None:
    """End the scenario unless something holds.

    Raises:
        StepFailed.
    """
    if not holds:
        raise StepFailed(message)


def ask(device: Device, model: str, name: str, datatype: str, array: NDArray[Any]) -> NDArray[Any]:
    """Ask a device over its own door; gives the first output.

    Raises:
        StepFailed: It refused.
    """
    tensor = InferInput(name=name, shape=list(array.shape), datatype=datatype, data=array.ravel().tolist())
    answer = httpx.post(
        f"{device.facts['inference_url']}/v2/models/{model}/infer",
        content=InferRequest(inputs=[tensor]).model_dump_json(),
        headers={"Content-Type": "application/json"},
        timeout=60,
        trust_env=False,
    )
    if answer.is_error:
        raise StepFailed(f"The device answered {answer.status_code}: {answer.text[:200]}")
    output = answer.json()["outputs"][0]
    return np.array(output["data"]).reshape(output["shape"])


def table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Give a table whose first column is of words, and the others of figures."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for place, name in enumerate(names):
        made.add_column(name, justify="right" if place else "left", no_wrap=not place)
    for row in rows:
        made.add_row(*row)
    return made


def sail(
    name: str,
    about: str,
    steps: int,
    voyage: Callable[[Workbench, argparse.Namespace], None],
    more: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> int:
    """Start the system, do a scenario in it, write its report; gives the exit code: 0 only if all was as it shall be.

    Args:
        steps: Beside starting the system.
        more: Adds the scenario's own arguments.
    """
    parser = argparse.ArgumentParser(prog=f"shoal demo {name}", description=about)
    parser.add_argument("--exit", action="store_true", help="end after the report instead of leaving the dashboard up")
    parser.add_argument("--out", type=Path, default=Path(f"out/demo-{name}"), help="folder of report.json and state")
    parser.add_argument("--json", action="store_true", help="print the report as JSON; all else goes to stderr")
    parser.add_argument("--dashboard-port", type=int, default=8090, help="any free one is taken if it is in use")
    more(parser)
    options = parser.parse_args()
    console = Console(stderr=options.json)
    if not console.is_terminal:
        console = Console(stderr=options.json, width=_LOG_WIDTH)
    for number in (signal.SIGINT, signal.SIGTERM):  # also where SIGINT came ignored
        signal.signal(number, signal.default_int_handler)
    try:
        _sail(steps, voyage, options, console)
    except KeyboardInterrupt:
        console.print("\nStopped; nothing of the demo is left running.")
        return 130
    except (StepFailed, ApiError, Unreachable, OSError) as error:
        code = f" [{error.code}]" if isinstance(error, ApiError) else ""
        Console(stderr=True).print(f"[bold red]The demo failed:[/] {error}{code}", highlight=False)
        console.print(f"Logs stand under {options.out / 'state'}.", highlight=False)
        return 1
    return 0


def _sail(
    steps: int, voyage: Callable[[Workbench, argparse.Namespace], None], options: argparse.Namespace, console: Console
) -> None:
    began = time.monotonic()
    state = options.out.absolute() / "state"
    show = Stage(console, 1 + steps)
    with ExitStack() as opened:
        address, client = leave(opened, show, console, state, options.dashboard_port)
        bench = Workbench(client, show, address, state, opened)
        try:
            voyage(bench, options)
        finally:
            bench.report["duration_s"] = round(time.monotonic() - began, 1)
            _write(options.out / "report.json", bench.report)
        console.print(f"Report: {options.out / 'report.json'}", highlight=False)
        if options.json:
            sys.stdout.write(json.dumps(bench.report, indent=2) + "\n")
            sys.stdout.flush()
        if not options.exit:
            console.print(f"The dashboard stays up at [bold]{address.dashboard_url}[/]; Ctrl-C ends it.")
            bench.rest()


def _write(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report, whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(json.dumps(report, indent=2) + "\n")
    draft.replace(path)
