"""The parts of an end-to-end test: a controller process and agent processes, and waiting for what they reach.

Real processes: `python -m controller all` and `python -m agent run`. Variants are put into the registry by hand.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

from controller.artifacts import service as artifacts
from controller.artifacts.tables import ModelRow, VariantRow, VersionRow
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from controller.settings import Settings
from tests.databases import make_tables
from tests.models import WEIGHTS, golden_of, linear_onnx
from tests.registry import signature_row
from tests.rig import BrokerAt, free_port, is_listening, wait_for


class Controller:
    """A controller process with its registry within reach."""

    def __init__(self, broker: BrokerAt, database_url: str, settings: Mapping[str, str] | None = None) -> None:
        self.state = broker.state
        self.api_port, self.device_port = free_port(), free_port()
        self._environment = {
            **os.environ,
            "SHOAL_STATE": str(broker.state),
            "SHOAL_BROKER_URL": broker.url,
            "SHOAL_DATABASE_URL": database_url,
            "SHOAL_API_PORT": str(self.api_port),
            "SHOAL_DEVICE_PORT": str(self.device_port),
            "PYTHONUNBUFFERED": "1",
            **(settings or {}),
        }
        self.database = Database(database_url or f"sqlite:///{broker.state / 'shoal.db'}")
        make_tables(self.database)
        self.blobs = BlobStore(Settings.from_environment(self._environment).blobs_at())
        self._log = (broker.state / "controller.log").open("ab")
        self.start()
        assert self.process.stdout is not None
        self.password = self.process.stdout.readline().split()[1]
        wait_for(lambda: is_listening(self.api_port))
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}/v1", timeout=30)
        login = self.api.post("/tokens", json={"username": "admin", "password": self.password})
        self.api.headers["Authorization"] = f"Bearer {login.json()['token']}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller", "all"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        wait_for(lambda: is_listening(self.device_port) and is_listening(self.api_port))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)
        self.api.close()
        self.database.close()
        self._log.close()

    def get(self, path: str, **query: Any) -> Any:
        answer = self.api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def token(self) -> str:
        answer = self.api.post("/enrollment-tokens", json={"labels": {"site": "lyon"}, "max_uses": 5})
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["token"]
        return token

    def new_version(
        self,
        weights: NDArray[np.float32] = WEIGHTS,
        *,
        golden: bytes = b"",
        claimed: str = "",
        padding_bytes: int = 0,
    ) -> int:
        """Put a version with one variant into the registry, as a compression would."""
        model = linear_onnx(weights, padding_bytes=padding_bytes)
        with self.database.transaction() as session:
            named = {"created_at": utc_now(), "created_by": "test"}
            if session.get(ModelRow, "linear") is None:
                labels = ["a", "b", "c"]
                session.add(
                    ModelRow(
                        name="linear",
                        task="classification",
                        signature=signature_row([4], 3),
                        class_labels=labels,
                        **named,
                    )
                )
                session.flush()
            kept = {}
            for name, data in (("model", model), ("golden", golden or golden_of(weights)), ("other", b"-")):
                sha256, size = self.blobs.put_bytes(data)
                artifacts.record_artifact(session, sha256, size, "test")
                kept[name] = sha256
            if claimed:
                artifacts.record_artifact(session, claimed, len(model), "test")
                folder = self.blobs.local_path(claimed)
                assert folder is not None
                folder.parent.mkdir(exist_ok=True, parents=True)
                folder.write_bytes(model)
            number = session.query(VersionRow).count() + 1
            version = VersionRow(
                model="linear",
                number=number,
                source="uploaded",
                train_program=kept["other"],
                eval_program=kept["other"],
                weights=kept["other"],
                lineage={},
                **named,
            )
            session.add(version)
            session.flush()
            session.add(
                VariantRow(
                    version_id=version.id,
                    recipe="fp32",
                    runtime="onnxruntime",
                    sha256=claimed or kept["model"],
                    golden_sha256=kept["golden"],
                    size_bytes=len(model),
                    accuracy=1.0,
                    agreement=1.0,
                    latency_p50_ms=0.1,
                    samples=32,
                    job_id="",
                    created_at=utc_now(),
                )
            )
        return number

    def roll_out(self, version: int) -> str:
        body = {"model": "linear", "version": version, "selector": "all"}
        answer = self.api.post("/rollouts", json=body)
        assert answer.status_code == 201, answer.text
        rollout_id: str = answer.json()["id"]
        return rollout_id

    def await_state(self, rollout_id: str, state: str, timeout_s: float = 60) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(f"/rollouts/{rollout_id}")
            return found if found["state"] == state else None

        found = wait_for(there, timeout_s)
        assert found is not None
        return found


class Agent:
    """An agent process."""

    def __init__(self, folder: Path, controller: Controller, token: str) -> None:
        self.state = folder
        folder.mkdir(exist_ok=True)
        self._environment = {
            **os.environ,
            "SHOAL_AGENT_STATE": str(folder),
            "SHOAL_AGENT_INSTANCE": folder.name,  # several on one machine
            "SHOAL_AGENT_TOKEN": token,
            "SHOAL_AGENT_CONTROLLER_URL": f"https://127.0.0.1:{controller.device_port}",
            "SHOAL_AGENT_RUNTIMES": "onnxruntime",
            "SHOAL_AGENT_TELEMETRY_INTERVAL_S": "1",
            "SHOAL_AGENT_TELEMETRY_SEND_INTERVAL_S": "1",
        }
        self.start()

    def start(self) -> None:
        with (self.state / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run"], env=self._environment, stderr=log, stdout=log
            )

    def kill(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))

    def status(self) -> dict[str, Any]:
        shown = subprocess.run(
            [sys.executable, "-m", "agent", "status", "--json"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        status: dict[str, Any] = json.loads(shown.stdout)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(20) == 0


def online(controller: Controller, count: int) -> list[dict[str, Any]]:
    """Wait until so many devices are online and have said where they serve."""

    def found() -> list[dict[str, Any]]:
        devices: list[dict[str, Any]] = controller.get("/devices", selector="online")["items"]
        ready = [device for device in devices if device["facts"].get("inference_url")]
        return ready if len(ready) == count else []

    return wait_for(found, 60)
