"""Virtual devices that learn, together and alone, on a real controller."""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from controller import server
from controller.artifacts import service as artifacts
from controller.artifacts.tables import VariantRow
from controller.db import utc_now
from controller.devices import enrollment
from controller.devices.tables import DeviceRow, ReceiptRow
from controller.federated import service as federated
from controller.federated.tables import RunRow, UpdateRow
from controller.gateway.http import Parts, create_door
from controller.incremental import service as incremental
from controller.incremental.tables import IncrementalUpdateRow
from controller.rollouts import service as rollouts
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.schemas.incremental import LearningSettings, PolicyRequest
from shoal.schemas.rollouts import RolloutRequest, WaveRequest
from tests.learning import register_model, run_request
from tests.models import golden_of, linear_onnx
from tests.rig import BrokerAt, Office, wait_for

DEVICES = 12
# All boards but those without PyTorch or ONNX Runtime.
LEARNERS = 'facts.can_train and facts.runtimes has "onnxruntime"'


@pytest.fixture
def broker(iotcore: BrokerAt) -> BrokerAt:
    return iotcore


@pytest.fixture
def door(office: Office) -> Iterator[str]:
    """The devices' HTTPS door."""
    parts = Parts(settings=office.settings, database=office.database, keys=office.keys, blobs=office.blobs)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*office.keys.issue_server_certificate(["127.0.0.1"]))
    stop = threading.Event()
    with server.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        serving = threading.Thread(target=server.serving(listening, create_door(parts), tls), args=(stop,))
        serving.start()
        yield f"https://127.0.0.1:{port}"
        stop.set()
        serving.join()


@pytest.fixture
def fleet(office: Office, door: str, tmp_path: Path) -> Iterator[None]:
    with office.database.transaction() as session:
        _, token = enrollment.create_token(
            session, EnrollmentTokenRequest(max_uses=DEVICES), ca_digest=office.keys.ca_digest, actor="test"
        )
        register_model(session, office.blobs)
    settings = {
        "failure_ratio": 0.3,
        "training_s": 0.2,
        "trial_s": 0.1,
        "load_s": 0.1,
        "drift_ratio": 1,
        "drift_s": 0.5,
    }
    command = [sys.executable, "-m", "agent", "simulate", "--devices", str(DEVICES), "--controller", door]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    command += ["--set", "samples_per_s=500", "--state", str(tmp_path / "simulator"), "--seed", "5"]
    environment = {**os.environ, "SHOAL_AGENT_TOKEN": token}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if json.loads(line)["online"] == DEVICES)
        reading = threading.Thread(target=process.stdout.read)
        reading.start()
        wait_for(lambda: count_online(office) == DEVICES)
        yield
        process.terminate()
        reading.join()
        assert process.wait(30) == 0


def count_online(office: Office) -> int:
    with office.database.reading() as session:
        return session.scalar(select(func.count()).where(DeviceRow.online.is_(True))) or 0


@pytest.mark.usefixtures("fleet")
def test_run_when_some_devices_fail_then_the_updates_of_the_others_are_averaged(office: Office) -> None:
    with office.database.transaction() as session:
        run_id = federated.create(session, office.blobs, run_request(rounds=2, selector=LEARNERS), "test").id

    def ended() -> str:
        with office.database.reading() as session:
            state: str = session.get_one(RunRow, run_id).state
            return "" if state == "running" else state

    assert wait_for(ended, 90) == "succeeded"
    with office.database.reading() as session:
        shown = federated.summary(session, session.get_one(RunRow, run_id))
        taken = session.scalar(select(func.count()).select_from(UpdateRow))
    assert shown.result_version == 2
    assert 0 < (taken or 0) < 2 * shown.rounds[0].cohort


@pytest.mark.usefixtures("fleet")
def test_model_when_it_drifts_then_what_virtual_devices_learned_is_taken(office: Office) -> None:
    with office.database.transaction() as session:
        version = artifacts.get_version(session, "tiny", 1)
        kept = {}
        for name, data in (("model", linear_onnx()), ("golden", golden_of())):
            kept[name], size = office.blobs.put_bytes(data)
            artifacts.record_artifact(session, kept[name], size, "test")
        session.add(
            VariantRow(
                version_id=version.id,
                recipe="fp32",
                runtime="onnxruntime",
                sha256=kept["model"],
                golden_sha256=kept["golden"],
                size_bytes=len(linear_onnx()),
                accuracy=1.0,
                agreement=1.0,
                latency_p50_ms=0.1,
                samples=32,
                job_id="",
                created_at=utc_now(),
            )
        )
        session.flush()
        waves = [WaveRequest(ratio=1.0)]
        wanted = RolloutRequest(model="tiny", version=1, selector=LEARNERS, waves=waves, error_ratio_limit=1.0)
        rollouts.create(session, wanted, "test")

    def proven() -> bool:
        with office.database.reading() as session:
            return bool(session.scalar(select(func.count()).select_from(ReceiptRow)))

    wait_for(proven, 60)
    with office.database.transaction() as session:
        policy = PolicyRequest(
            model="tiny",
            selector=LEARNERS,
            replay_dataset="tiny-eval",
            retention_dataset="tiny-eval",
            learning=LearningSettings(dataset="local", new_samples=50),
        )
        incremental.create_policy(session, policy, "test")

    def kept_updates() -> int:
        with office.database.reading() as session:
            rows = session.scalars(select(IncrementalUpdateRow).where(IncrementalUpdateRow.state == "kept"))
            return len(rows.all())

    assert wait_for(kept_updates, 90) >= 1
