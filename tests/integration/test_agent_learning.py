"""Executions on a real agent, as a real controller offers them: done once, kill or no kill, or refused by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from paho.mqtt.client import Client as Mqtt
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from torch import nn

from controller import events
from controller.executions.tables import ExecutionRow
from shoal.client import Client
from shoal.schemas.artifacts import DatasetRequest, ModelRequest, VersionRequest
from shoal.schemas.federated import FederatedRunRequest, TrainingSettings
from shoal.training.dataset import HEADER, read_dataset, write_shard
from shoal.training.loop import Sgd, train_epochs
from shoal.training.programs import ProgramFiles, export_programs, load_program, read_weights, set_weights, weights_of
from shoal.wire import topics
from shoal.wire.envelope import Envelope
from shoal.wire.executions import Cancel, ExecutionKind, ExecutionReport, Offer, ReportState
from shoal.wire.federated import FederatedRoundResult, FederatedRoundSpec
from shoal.wire.tensors import encode_tensors
from tests.e2e.voyage import Agent, Controller, online
from tests.models import WEIGHTS, samples
from tests.registry import let_pass, one_input
from tests.rig import BrokerAt, children_of, wait_for

DATASET = "local"
MANY = 1000  # local epochs of 3,200 samples: many seconds on any machine


class Ear:
    """Hears what devices report on the broker, and remembers it in order."""

    def __init__(self, broker: BrokerAt) -> None:
        self.reports: list[ExecutionReport] = []
        url = urlsplit(broker.url)
        self._mqtt = Mqtt(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._mqtt.username_pw_set(url.username, url.password)
        self._mqtt.on_message = self._heard
        self._mqtt.connect(url.hostname or "", url.port or 0)
        self._mqtt.subscribe("shoal/1/+/up/execution", qos=1)
        self._mqtt.loop_start()

    def ends(self) -> list[ExecutionReport]:
        return [report for report in self.reports if report.state is not ReportState.IN_PROGRESS]

    def hears_training(self) -> bool:
        return any("training" in report.message for report in self.reports)

    def close(self) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def _heard(self, _mqtt: Mqtt, _userdata: Any, message: MQTTMessage) -> None:
        body = msgspec.json.decode(message.payload, type=Envelope).body
        self.reports.append(msgspec.json.decode(body, type=ExecutionReport))


@pytest.fixture
def controller(iotcore: BrokerAt, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    monkeypatch.setenv("SHOAL_RAY_CPUS", "0")  # measuring is not what these stories are about
    controller = Controller(iotcore, "")
    yield controller
    controller.close()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Train here as the device does; on a busy machine two threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def client(controller: Controller) -> Iterator[Client]:
    token = controller.api.headers["Authorization"].removeprefix("Bearer ")
    with Client(f"http://127.0.0.1:{controller.api_port}", token) as client:
        yield client


@pytest.fixture
def ear(iotcore: BrokerAt, controller: Controller) -> Iterator[Ear]:
    del controller  # the broker serves
    ear = Ear(iotcore)
    yield ear
    ear.close()


@pytest.fixture
def agent(controller: Controller, tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "agent", controller, controller.token())
    online(controller, 1)
    yield agent
    agent.close()


@pytest.fixture
def files(controller: Controller, client: Client) -> ProgramFiles:
    """Version 1 of the linear model, and the data set `heldout`."""
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
    return files


def labels(x: NDArray[np.float32]) -> NDArray[np.int64]:
    return (x @ WEIGHTS).argmax(1)


def folder_of(agent: Agent) -> Path:
    return agent.state / "data" / DATASET


def give_data(agent: Agent, count: int = 3200) -> None:
    x = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    write_shard(folder_of(agent), x, (labels(x) + 1) % 3)


def start_run(client: Client, local_epochs: int) -> str:
    request = FederatedRunRequest(
        model="linear",
        version=1,
        selector="all",
        rounds=1,
        evaluation_dataset="heldout",
        training=TrainingSettings(dataset=DATASET, local_epochs=local_epochs, learning_rate=0.01),
    )
    return client.federated_runs.create(request).id


def offer_of(controller: Controller) -> tuple[str, Offer]:
    """Give the offer of the one execution, and to whom it goes."""
    with controller.database.reading() as session:
        row = session.query(ExecutionRow).one()
    offer = Offer(
        execution_id=row.id,
        type=ExecutionKind(row.kind),
        attempt=row.attempt,
        epoch=1,
        number=1,
        timeout_s=row.progress_timeout_s,
        spec=msgspec.Raw(msgspec.json.encode(row.spec)),
    )
    return row.device_id, offer


def say(controller: Controller, device_id: str, kind: str, message: Offer | Cancel) -> None:
    """Let the controller's gateway sign and publish a message."""
    body = msgspec.json.encode(message).decode()
    with controller.database.transaction() as session:
        events.publish(session, topic=topics.down(device_id, "execution"), kind=kind, body=body)


def trained_here(files: ProgramFiles, agent: Agent, offer: Offer) -> bytes:
    """Train in this process what the offer asks of the device; gives the update's bytes."""
    spec = msgspec.json.decode(offer.spec, type=FederatedRoundSpec)
    data = read_dataset(folder_of(agent))
    net = load_program(files.train_program)
    set_weights(net, read_weights(files.weights))
    sgd = Sgd(learning_rate=spec.learning_rate, momentum=spec.momentum, batch_size=spec.batch_size, seed=spec.seed)
    train_epochs(net, data.x, data.y, epochs=spec.local_epochs, sgd=sgd)
    return encode_tensors(weights_of(net))


def trainers(agent: Agent) -> list[psutil.Process]:
    return children_of(agent.process.pid, "agent.training")


def test_offer_when_done_then_its_update_is_uploaded_and_the_same_offer_gets_the_same_report(
    controller: Controller, client: Client, files: ProgramFiles, ear: Ear, agent: Agent
) -> None:
    give_data(agent)
    run_id = start_run(client, 5)
    wait_for(ear.ends)
    (first,) = ear.ends()
    assert (first.state, first.code, first.message) == (ReportState.SUCCEEDED, "", "")
    result = msgspec.convert(first.result, FederatedRoundResult)
    device_id, offer = offer_of(controller)
    assert controller.blobs.read(result.update) == trained_here(files, agent, offer)
    assert result.examples == 3200
    wait_for(lambda: client.federated_runs.show(run_id).state == "succeeded")
    said = len(ear.reports)
    say(controller, device_id, "offer", offer)
    wait_for(lambda: len(ear.ends()) == 2)
    (again,) = ear.reports[said:]  # and no word of work before it
    assert (again.execution_id, again.attempt, again.state, again.result) == (
        first.execution_id,
        first.attempt,
        first.state,
        first.result,
    )
    assert (again.session, again.sequence) > (first.session, first.sequence)
    wait_for(lambda: not trainers(agent) and not list((agent.state / "learning").iterdir()))


def test_agent_when_killed_in_its_training_then_the_next_one_gives_bitwise_the_same_update(
    controller: Controller, client: Client, files: ProgramFiles, ear: Ear, agent: Agent
) -> None:
    give_data(agent)
    start_run(client, 40)
    wait_for(ear.hears_training)
    status = agent.status()
    (execution,) = status["executions"]
    assert (status["running"], status["connected"], status["last_error"]) == (True, True, "")
    assert (execution["type"], execution["attempt"]) == ("federated_round", 1)
    agent.kill()
    assert agent.status()["running"] is False
    assert [one["execution_id"] for one in agent.status()["executions"]] == [execution["execution_id"]]
    assert ear.ends() == []
    agent.start()
    wait_for(ear.ends, 60)
    (end,) = ear.ends()
    _, offer = offer_of(controller)
    assert (end.execution_id, end.state) == (execution["execution_id"], ReportState.SUCCEEDED)
    assert controller.blobs.read(str(end.result["update"])) == trained_here(files, agent, offer)


@pytest.mark.usefixtures("files")
def test_execution_when_canceled_in_its_training_then_nothing_of_it_is_left(
    client: Client, ear: Ear, agent: Agent
) -> None:
    give_data(agent)
    run_id = start_run(client, MANY)
    # Asking all the while: the API closes a connection that was silent for 5 s, and a POST is not sent twice.
    wait_for(lambda: client.federated_runs.show(run_id).state == "running" and ear.hears_training())
    client.federated_runs.cancel(run_id)
    wait_for(lambda: not agent.status()["executions"])
    wait_for(lambda: not trainers(agent) and not list((agent.state / "learning").iterdir()))
    assert ear.ends() == []


@pytest.mark.usefixtures("files")
def test_training_when_its_process_is_killed_then_fails_by_name_and_the_agent_goes_on(
    client: Client, ear: Ear, agent: Agent
) -> None:
    give_data(agent)
    start_run(client, MANY)
    wait_for(ear.hears_training)
    (child,) = trainers(agent)
    child.kill()
    wait_for(ear.ends)
    assert [(end.state, end.code) for end in ear.ends()] == [(ReportState.FAILED, "process.crashed")]
    assert (agent.status()["running"], agent.status()["executions"]) == (True, [])


def no_data(_folder: Path) -> None:
    """Leave the device without the data set."""


def no_sample(folder: Path) -> None:
    write_shard(folder, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def no_header(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / HEADER).write_text("{")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("prepare", "code"),
    [(no_data, "dataset.not_found"), (no_sample, "dataset.empty"), (no_header, "dataset.malformed")],
)
def test_offer_when_the_local_data_is_of_no_use_then_is_rejected_by_name(
    client: Client, ear: Ear, agent: Agent, prepare: Any, code: str
) -> None:
    prepare(folder_of(agent))
    start_run(client, 1)
    wait_for(ear.ends)
    assert [(end.state, end.code) for end in ear.ends()] == [(ReportState.REJECTED, code)]
