"""Learning together and alone, with real processes: over MQTT, with torch, and with kills in the middle of it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from controller.artifacts import service as artifacts
from shoal.client import Client
from shoal.schemas.artifacts import DatasetRequest, ModelRequest, Version, VersionRequest
from shoal.schemas.federated import FederatedRun, FederatedRunRequest, TrainingSettings
from shoal.schemas.incremental import IncrementalUpdate, LearningSettings, PolicyRequest
from shoal.training.dataset import write_shard
from shoal.training.programs import export_programs
from shoal.wire.tensors import encode_tensors
from tests.e2e.voyage import Agent, Controller, online
from tests.models import WEIGHTS, golden_of, linear_onnx, samples
from tests.registry import let_pass, one_input
from tests.rig import BrokerAt, wait_for

DATASET = "local"


@pytest.fixture
def broker(mosquitto: BrokerAt) -> BrokerAt:
    """The real parts; on the embedded ones the demo learns."""
    return mosquitto


@pytest.fixture(autouse=True)
def without_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring is not what these stories are about: without a processor for it, its jobs wait."""
    monkeypatch.setenv("SHOAL_RAY_CPUS", "0")


@pytest.fixture
def client(controller: Controller) -> Iterator[Client]:
    token = controller.api.headers["Authorization"].removeprefix("Bearer ")
    with Client(f"http://127.0.0.1:{controller.api_port}", token) as client:
        yield client


@pytest.fixture
def version(controller: Controller, client: Client) -> Version:
    """Version 1 of the linear model, with its programs, and the data set `heldout`."""
    net = nn.Linear(4, 3, bias=False)
    net.load_state_dict({"weight": torch.from_numpy(WEIGHTS.T.copy())})
    files = export_programs(net, torch.zeros(2, 4))
    client.models.create(ModelRequest(name="linear", signature=one_input([4], 3), class_labels=["a", "b", "c"]))
    x = samples(96)
    heldout = client.artifacts.create(encode_tensors({"x": x, "y": labels(x)}))
    client.datasets.create(DatasetRequest(name="heldout", role="evaluation", sha256=heldout.sha256))
    version = client.models.create_version(
        "linear",
        VersionRequest(
            train_program=client.artifacts.create(files.train_program).sha256,
            eval_program=client.artifacts.create(files.eval_program).sha256,
            weights=client.artifacts.create(files.weights).sha256,
        ),
    )
    let_pass(controller.database, version)
    return version


def labels(x: NDArray[np.float32]) -> NDArray[np.int64]:
    return (x @ WEIGHTS).argmax(1)


def give_data(agent: Agent, count: int, seed: int) -> None:
    """Local data that disagrees with version 1, so that there is something to learn."""
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    write_shard(agent.state / "data" / DATASET, x, (labels(x) + 1) % 3)


def start_run(client: Client, rounds: int, local_epochs: int) -> str:
    request = FederatedRunRequest(
        model="linear",
        version=1,
        selector="all",
        rounds=rounds,
        evaluation_dataset="heldout",
        training=TrainingSettings(dataset=DATASET, local_epochs=local_epochs, learning_rate=0.01),
    )
    return client.federated_runs.create(request).id


def await_end(client: Client, run_id: str) -> FederatedRun:
    def ended() -> FederatedRun | None:
        run = client.federated_runs.show(run_id)
        return None if run.state == "running" else run

    return wait_for(ended, 120) or client.federated_runs.show(run_id)


def weights_of(client: Client, run: FederatedRun) -> str:
    assert (run.state, run.message) == ("succeeded", "")
    assert run.result_version is not None
    return client.models.show_version("linear", run.result_version).weights


@pytest.mark.usefixtures("version")
def test_run_when_the_controller_is_killed_in_mid_round_then_ends_bitwise_as_without(
    controller: Controller, client: Client, new_agent: Callable[[], Agent]
) -> None:
    for number, count in enumerate((64, 64, 1600)):  # the third takes much longer than the others
        give_data(new_agent(), count, seed=number)
    online(controller, 3)
    undisturbed = await_end(client, start_run(client, 2, 40))
    run_id = start_run(client, 2, 40)
    wait_for(lambda: client.federated_runs.show(run_id).rounds[-1].updates == 2)
    controller.kill()
    controller.start()
    disturbed = await_end(client, run_id)
    assert (
        weights_of(client, disturbed)
        == weights_of(client, undisturbed)
        != client.models.show_version("linear", 1).weights
    )
    assert [(entry.cohort, entry.updates, entry.examples) for entry in disturbed.rounds] == [(3, 3, 1728)] * 2


@pytest.mark.usefixtures("version")
def test_run_when_an_agent_is_killed_while_it_trains_then_its_update_counts_all_the_same(
    controller: Controller, client: Client, new_agent: Callable[[], Agent]
) -> None:
    agents = [new_agent(), new_agent()]
    for number, agent in enumerate(agents):
        give_data(agent, 320, seed=number)
    online(controller, 2)
    undisturbed = await_end(client, start_run(client, 1, 200))
    run_id = start_run(client, 1, 200)
    wait_for(lambda: len(client.executions.list(kind="federated_round", state="in_progress").items) == 2)
    agents[0].kill()
    agents[0].start()
    disturbed = await_end(client, run_id)
    assert weights_of(client, disturbed) == weights_of(client, undisturbed)
    assert [(entry.cohort, entry.updates) for entry in disturbed.rounds] == [(2, 2)]


def test_device_when_its_sensor_changes_then_notices_learns_and_is_kept(
    controller: Controller, client: Client, version: Version, new_agent: Callable[[], Agent]
) -> None:
    agent = new_agent()
    (device,) = online(controller, 1)
    add_variant(controller, version)
    controller.await_state(controller.roll_out(1), "succeeded")
    client.incremental_policies.create(
        PolicyRequest(
            model="linear",
            selector=f"id == {device['id']}",
            replay_dataset="heldout",
            retention_dataset="heldout",
            learning=LearningSettings(dataset=DATASET, new_samples=60),
        )
    )
    wait_for(lambda: (now := client.devices.show(device["id"])).desired == now.reported)
    url = device["facts"]["inference_url"]
    ask(url, samples(400))
    assert updates_of(client, device["id"]) == []
    ask(url, changed(120))
    update = wait_for(lambda: updates_of(client, device["id"]))[0]
    assert (update.state, update.base_version) == ("learning", 1)
    x = changed(60)
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    write_shard(agent.state / "data" / DATASET, x, np.zeros(60, np.int64), at=np.full(60, now_us, np.int64))
    ended = wait_for(lambda: [one for one in updates_of(client, device["id"]) if one.finished_at is not None], 120)[0]
    assert (ended.id, ended.state, ended.result_version) == (update.id, "kept", 2), ended.message
    made = client.models.show_version("linear", 2)
    assert (made.source, made.parent) == ("incremental", 1)


def changed(count: int) -> NDArray[np.float32]:
    """Samples of which version 1 knows nothing: its confidence is a third."""
    x = np.random.default_rng(1).normal(scale=0.1, size=(count, 4)).astype(np.float32)
    x[:, 3] += 3
    return x


def ask(url: str, x: NDArray[np.float32]) -> None:
    for one in x:
        inputs = [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": one.tolist()}]
        answer = httpx.post(f"{url}/v2/models/linear/infer", json={"inputs": inputs})
        assert answer.status_code == 200, answer.text


def updates_of(client: Client, device_id: str) -> list[IncrementalUpdate]:
    return client.incremental_updates.list(device_id=device_id).items


def add_variant(controller: Controller, version: Version) -> None:
    """Give a version the variant that a compression would make."""
    kept = {}
    with controller.database.transaction() as session:
        for name, data in (("model", linear_onnx()), ("golden", golden_of())):
            sha256, size = controller.blobs.put_bytes(data)
            kept[name] = artifacts.record_artifact(session, sha256, size, "test").sha256
        artifacts.add_variant(
            session,
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
        )
