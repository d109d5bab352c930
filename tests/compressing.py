"""A controller process with the digits in it, for tests of what runs on Ray."""

import os
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from scenarios.digits.data import CLASSES, Samples, Split, load_split
from scenarios.digits.model import train_first_version
from shoal.cli.embedded_broker import embedded_broker
from shoal.client import Client
from shoal.schemas.artifacts import DatasetRequest, ModelRequest, Version, VersionRequest
from shoal.schemas.jobs import CompressionRequest, Job
from shoal.training.loop import ignore_progress
from shoal.training.programs import ProgramFiles
from shoal.wire.tensors import encode_tensors
from tests.registry import looked_at, one_input
from tests.rig import free_port, is_listening, wait_for

ALL_RECIPES: list[dict[str, Any]] = [
    {"name": "fp32", "runtimes": ["onnxruntime"]},
    {"name": "int8", "runtimes": ["onnxruntime", "openvino"]},
]


@cache
def split() -> Split:
    return load_split(6, 0)


@cache
def everything() -> Samples:
    """All that devices have, in one."""
    shares = split().shares
    return Samples(np.concatenate([share.x for share in shares]), np.concatenate([share.y for share in shares]))


@cache
def trained() -> ProgramFiles:
    """The demo's network after six epochs on all shares: good enough that int8 can be compared with it."""
    return train_first_version(everything(), 0, 6, ignore_progress)[0]


class Controller:
    """`python -m controller all` on the embedded broker, and a client of it."""

    def __init__(self, state: Path, **settings: object) -> None:
        self.state = state
        state.mkdir(exist_ok=True)
        self.api_port, broker_port = free_port(), free_port()
        self._broker = ExitStack()
        self._broker.enter_context(embedded_broker(state, port=broker_port, password="secret"))
        named = {f"SHOAL_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = {
            **os.environ,
            "SHOAL_STATE": str(state),
            "SHOAL_BROKER_URL": f"mqtt://shoal:secret@127.0.0.1:{broker_port}",
            "SHOAL_API_PORT": str(self.api_port),
            "SHOAL_DEVICE_PORT": str(free_port()),
            "PYTHONUNBUFFERED": "1",
            **named,
        }
        self.start()
        assert self.process.stdout is not None
        password = self.process.stdout.readline().split()[1]
        wait_for(lambda: is_listening(self.api_port))
        url = f"http://127.0.0.1:{self.api_port}"
        with Client(url) as stranger:
            token = stranger.tokens.create("admin", password).token
        self.client = Client(url, token)

    def start(self) -> None:
        with (self.state / "controller.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "controller", "all"],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> None:
        """End it as a power cut would, and what Ray leaves behind then."""
        left = self.descendants()
        self.process.kill()
        self.process.communicate()
        for process in left:
            if process.is_running():
                process.kill()

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)
        self.client.close()
        self._broker.close()

    def register(self, files: ProgramFiles) -> Version:
        """Register the digits with a first version and a data set of each role."""
        self.client.models.create(
            ModelRequest(
                name="digits",
                signature=one_input([1, 8, 8], CLASSES),
                class_labels=[str(digit) for digit in range(CLASSES)],
            )
        )
        for name, role, samples in (
            ("own", "calibration", split().own),
            ("heldout", "evaluation", split().heldout),
            ("golden", "golden", split().golden),
            ("shares", "training", everything()),
        ):
            artifact = self.client.artifacts.create(encode_tensors({"x": samples.x, "y": samples.y}))
            self.client.datasets.create(
                DatasetRequest.model_validate({"name": name, "role": role, "sha256": artifact.sha256})
            )
        return self.new_version(files)

    def new_version(self, files: ProgramFiles) -> Version:
        kept = {
            name: self.client.artifacts.create(data).sha256
            for name, data in (
                ("train_program", files.train_program),
                ("eval_program", files.eval_program),
                ("weights", files.weights),
            )
        }
        made = self.client.models.create_version("digits", VersionRequest.model_validate(kept))
        return looked_at(self.client, made)

    def compress(self, version: int, recipes: list[dict[str, Any]] = ALL_RECIPES, **more: Any) -> Job:
        body = {
            "model": "digits",
            "version": version,
            "recipes": recipes,
            "calibration_dataset": "own",
            "evaluation_dataset": "heldout",
            "golden_dataset": "golden",
        }
        return self.client.jobs.compress(CompressionRequest.model_validate({**body, **more}))

    def ended(self, job: Job, timeout_s: float = 120) -> Job:
        def found() -> Job | None:
            shown = self.client.jobs.show(job.id)
            return None if shown.finished_at is None else shown

        shown = wait_for(found, timeout_s)
        assert shown is not None
        return shown
