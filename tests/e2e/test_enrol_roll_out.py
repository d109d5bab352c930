"""A device's first day: enrols itself, is given a variant, proves it, serves; and what a kill or a bad artifact does.

Real processes: `python -m controller all` and `python -m agent run`. The variants are put into the registry by hand.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from controller import migrate
from controller.artifacts import service as artifacts
from controller.artifacts.tables import ModelRow, VariantRow, VersionRow
from controller.blobs import BlobStore
from controller.db import Database, utc_now
from tests.models import WEIGHTS, golden_of, linear_onnx, samples
from tests.rig import BrokerAt, free_port, is_listening, wait_for


class Controller:
    """A controller process with its registry within reach."""

    def __init__(self, broker: BrokerAt, database_url: str) -> None:
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
        }
        self.database = Database(database_url or f"sqlite:///{broker.state / 'shoal.db'}")
        migrate.upgrade(self.database)
        self.blobs = BlobStore((broker.state / "blobs").as_uri())
        self._log = (broker.state / "controller.log").open("ab")
        self.start()
        assert self.process.stdout is not None
        password = self.process.stdout.readline().split()[1]
        wait_for(lambda: is_listening(self.api_port))
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}/v1", timeout=30)
        login = self.api.post("/tokens", json={"username": "admin", "password": password})
        self.api.headers["Authorization"] = f"Bearer {login.json()['token']}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller", "all"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        wait_for(lambda: is_listening(self.device_port))

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

    def new_version(self, weights: NDArray[np.float32] = WEIGHTS, *, golden: bytes = b"", claimed: str = "") -> int:
        """Put a version with one variant into the registry, as a compression would."""
        model = linear_onnx(weights)
        with self.database.transaction() as session:
            named = {"created_at": utc_now(), "created_by": "test"}
            if session.get(ModelRow, "linear") is None:
                labels = ["a", "b", "c"]
                session.add(
                    ModelRow(name="linear", task="classification", input_shape=[4], class_labels=labels, **named)
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
                    recipe_spec={},
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
        body = {"model": "linear", "version": version, "selector": {"all": True}}
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
            "SHOAL_AGENT_TOKEN": token,
            "SHOAL_AGENT_CONTROLLER_URL": f"https://127.0.0.1:{controller.device_port}",
            "SHOAL_AGENT_RUNTIMES": "onnxruntime",
            "SHOAL_AGENT_TELEMETRY_INTERVAL_S": "1",
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


@pytest.fixture
def controller(broker: BrokerAt, request: pytest.FixtureRequest) -> Iterator[Controller]:
    """The embedded parts together, and the real ones together: Mosquitto with PostgreSQL."""
    database_url = ""
    if broker.has_access_list:
        database_url = request.getfixturevalue("postgresql_url")
        database = Database(database_url)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        database.close()
    controller = Controller(broker, database_url)
    yield controller
    controller.close()


@pytest.fixture
def new_agent(controller: Controller, tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    agents: list[Agent] = []

    def make() -> Agent:
        agents.append(Agent(tmp_path / f"agent{len(agents)}", controller, controller.token()))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()


def online(controller: Controller, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        devices: list[dict[str, Any]] = controller.get("/devices", online=True)["items"]
        return devices if len(devices) == count else []

    return wait_for(found, 60)


def infer(device: dict[str, Any], x: NDArray[np.float32]) -> httpx.Response:
    body = {"inputs": [{"name": "input", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]}
    return httpx.post(f"{device['facts']['inference_url']}/v2/models/linear/infer", json=body)


def test_devices_when_enrolled_then_a_rollout_is_proven_and_they_serve(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agents = [new_agent(), new_agent()]
    devices = online(controller, 2)
    assert {device["labels"]["site"] for device in devices} == {"lyon"}
    rollout = controller.await_state(controller.roll_out(controller.new_version()), "succeeded")
    assert [wave["counts"] for wave in rollout["waves"]] == [{"succeeded": 1}, {"succeeded": 1}]
    for device in devices:
        (receipt,) = controller.get(f"/devices/{device['id']}/receipts")["items"]
        assert (receipt["golden_passed"], receipt["version"], receipt["is_fallback"]) == (True, 1, False)
        answer = infer(device, samples(5)).json()
        got = np.array(answer["outputs"][0]["data"]).reshape(5, 3)
        np.testing.assert_allclose(got, samples(5) @ WEIGHTS, atol=1e-5)
    wait_for(lambda: controller.api.get(f"/devices/{devices[0]['id']}/telemetry").status_code == 200)
    assert [slot["state"] for slot in agents[0].status()["slots"]] == ["serving"]


def test_second_version_when_its_golden_set_fails_on_the_device_then_the_first_goes_on_serving(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    new_agent()
    (device,) = online(controller, 1)
    controller.await_state(controller.roll_out(controller.new_version()), "succeeded")
    other = WEIGHTS[:, ::-1].copy()
    rollout_id = controller.roll_out(controller.new_version(other, golden=golden_of(WEIGHTS)))
    controller.await_state(rollout_id, "paused")
    (target,) = controller.get(f"/rollouts/{rollout_id}/targets")["items"]
    assert (target["state"], target["code"]) == ("failed", "golden.failed")
    assert infer(device, samples(1)).json()["model_version"] == "1"


def test_artifact_when_its_bytes_differ_from_its_digest_then_the_step_fails_by_name(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    new_agent()
    online(controller, 1)
    rollout_id = controller.roll_out(controller.new_version(claimed="0" * 64))
    controller.await_state(rollout_id, "paused")
    (target,) = controller.get(f"/rollouts/{rollout_id}/targets")["items"]
    assert (target["state"], target["code"]) == ("failed", "artifact.digest_mismatch")


def test_agent_when_killed_in_mid_download_then_resumes_and_the_rollout_succeeds(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    large = np.zeros((4, 24_000_000), np.float32)  # 384 MB: long enough to be killed in
    large[:, :3] = WEIGHTS
    rollout_id = controller.roll_out(controller.new_version(large, golden=golden_of(large)))
    part = wait_for(lambda: next(iter((agent.state / "artifacts").glob("*.part")), None))
    wait_for(lambda: part.stat().st_size > 10_000_000)
    agent.kill()
    have = part.stat().st_size
    assert have < large.nbytes
    agent.start()
    controller.await_state(rollout_id, "succeeded", 120)
    assert online(controller, 1)[0]["id"] == device["id"]


def test_device_when_killed_while_serving_then_proves_itself_again(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    controller.await_state(controller.roll_out(controller.new_version()), "succeeded")
    agent.kill()
    agent.start()
    wait_for(lambda: len(controller.get(f"/devices/{device['id']}/receipts")["items"]) == 2, 30)
    assert infer(device, samples(1)).status_code == 200


def test_controller_when_killed_in_mid_rollout_then_the_rollout_goes_on(
    controller: Controller, new_agent: Callable[[], Agent]
) -> None:
    for _ in range(2):
        new_agent()
    online(controller, 2)
    rollout_id = controller.roll_out(controller.new_version())
    controller.kill()
    controller.start()
    controller.await_state(rollout_id, "succeeded", 60)


def test_agent_when_its_token_is_wrong_then_says_so_and_ends_with_1(controller: Controller, tmp_path: Path) -> None:
    good = controller.token()
    agent = Agent(tmp_path / "agent", controller, f"nonsense.{good.partition('.')[2]}")
    assert agent.process.wait(30) == 1
    assert (agent.state / "log").read_text().strip().endswith("[enrollment.wrong_token]")
    other = Agent(tmp_path / "other", controller, f"{good.partition('.')[0]}.{'0' * 64}")
    assert other.process.wait(30) == 1
    assert (other.state / "log").read_text().strip().endswith("[ca.not_pinned]")
