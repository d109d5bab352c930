"""A real agent on a real broker and controller: each sample arrives once, whatever is killed; its log is fetched."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from sqlalchemy import select, text

from agent.samples import Sending
from controller.broker import CONFIG, write_config
from controller.db import utc_now
from controller.devices import enrollment
from controller.devices.tables import DeviceRow
from controller.errors import NotFound
from controller.executions import commands
from controller.executions.states import ExecutionState, is_end
from controller.executions.tables import ExecutionRow
from controller.gateway import http as device_door
from controller.keys import Keys
from controller.server import listen
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.schemas.executions import CommandRequest
from tests.rig import BrokerAt, Office, broker_plan, free_port, is_listening, wait_for

INTERVAL_S = 0.4


class Place:
    """A controller with the devices' door, Mosquitto, and one agent; each can be stopped."""

    def __init__(self, folder: Path, program: str) -> None:
        self._program = program
        self._port = free_port()
        self._broker_folder = folder / "mosquitto"
        self.state = folder / "device"
        keys = Keys.open(folder)
        write_config(self._broker_folder, broker_plan(self._broker_folder, self._port), keys, is_forced=False)
        self.start_broker()
        self.office = Office(BrokerAt(f"mqtts://127.0.0.1:{self._port}", keys, folder, True))
        self.office.start()
        parts = device_door.Parts(
            settings=self.office.settings, database=self.office.database, keys=keys, blobs=self.office.blobs
        )
        certificate, key = keys.issue_server_certificate(["127.0.0.1"])
        self._socket = listen("127.0.0.1", 0)
        self._server = uvicorn.Server(
            uvicorn.Config(
                device_door.create_door(parts),
                log_config=None,
                lifespan="off",
                ssl_certfile=certificate,
                ssl_keyfile=key,
                headers=[("Connection", "close")],
            )
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        with self.office.database.transaction() as session:
            _, self.token = enrollment.create_token(
                session, EnrollmentTokenRequest(), ca_digest=keys.ca_digest, actor="test"
            )
        self.start_agent()

    def start_broker(self) -> None:
        self.broker = subprocess.Popen([self._program, "-c", self._broker_folder / CONFIG], stderr=subprocess.DEVNULL)
        wait_for(lambda: is_listening(self._port))

    def start_agent(self, **others: str) -> None:
        told = {
            "SHOAL_AGENT_STATE": str(self.state),
            "SHOAL_AGENT_TOKEN": self.token,
            "SHOAL_AGENT_CONTROLLER_URL": f"https://127.0.0.1:{self._socket.getsockname()[1]}",
            "SHOAL_AGENT_CONFIG": os.devnull,
            "SHOAL_AGENT_TELEMETRY_INTERVAL_S": str(INTERVAL_S),
            "SHOAL_AGENT_TELEMETRY_SEND_INTERVAL_S": "1",
            "SHOAL_AGENT_LOG_LEVEL": "DEBUG",
            **others,
        }
        self.agent = subprocess.Popen([sys.executable, "-m", "agent", "run"], env={**os.environ, **told})

    def kill_agent(self) -> None:
        self.agent.kill()
        self.agent.wait()

    def device(self) -> DeviceRow | None:
        with self.office.database.reading() as session:
            return session.scalar(select(DeviceRow).where(DeviceRow.online))

    def messages(self) -> list[dict[str, Any]]:
        with self.office.database.reading() as session:
            return [json.loads(body) for (body,) in session.execute(text("SELECT body FROM telemetry_messages"))]

    def times(self) -> list[float]:
        """When each sample was taken that the controller has, in order."""
        return sorted(one["begin"] + offset for one in self.messages() for offset in one["offsets"])

    def waiting(self) -> list[float]:
        """When each sample was taken that waits on the agent's disk."""
        with closing(sqlite3.connect(f"file:{self.state / 'journal.db'}?mode=ro", uri=True)) as journal:
            return [at for (at,) in journal.execute("SELECT at_s FROM samples ORDER BY id")]

    def sending(self) -> Sending:
        """Give how far the agent is, as its disk has it."""
        with closing(sqlite3.connect(f"file:{self.state / 'journal.db'}?mode=ro", uri=True)) as journal:
            (kept,) = journal.execute("SELECT value FROM meta WHERE key = 'telemetry'").fetchone()
        return msgspec.msgpack.decode(kept, type=Sending)

    def message_in_flight(self) -> str:
        """Give the id of the message that the agent is sending and the controller has not; empty for none."""
        message = self.sending().message
        found = str(json.loads(json.loads(message)["body"])["id"]) if message else ""
        return "" if found in [one["id"] for one in self.messages()] else found

    def ask(self, name: Any, **others: Any) -> ExecutionRow:
        """Give the device a command, and what came of it."""
        with self.office.database.transaction() as session:
            row = commands.create(session, CommandRequest(name=name, selector="all", **others), "test", utc_now())
            command_id = row.id
        self.office.wake_up.notify()

        def ended() -> ExecutionRow | None:
            with self.office.database.reading() as session:
                row = session.scalar(select(ExecutionRow).where(ExecutionRow.owner_id == command_id))
                return row if row is not None and is_end(ExecutionState(row.state)) else None

        found = wait_for(ended, 60)
        assert found is not None
        return found

    def close(self) -> None:
        self.agent.terminate()
        self.agent.wait()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.office.close()
        self.broker.terminate()
        self.broker.wait()


@pytest.fixture
def place(tmp_path: Path, mosquitto_program: str) -> Iterator[Place]:
    place = Place(tmp_path, mosquitto_program)
    yield place
    place.close()


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


def check_once(times: list[float]) -> None:
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) > INTERVAL_S / 2, "a sample came twice"


def test_samples_when_the_broker_is_away_and_the_agent_killed_then_each_that_was_kept_arrives_once(
    place: Place,
) -> None:
    wait_for(lambda: len(place.times()) > 3, 60)
    place.broker.terminate()
    place.broker.wait()
    wait_for(lambda: len(place.waiting()) > 5, 60)
    place.kill_agent()
    waited = place.waiting()
    killed_at = time.time()
    place.start_broker()
    place.start_agent()
    wait_for(lambda: place.times() and place.times()[-1] > killed_at + 1, 90)
    times = place.times()
    check_once(times)
    assert all(min(abs(at - one) for one in times) < 0.2 for at in waited)
    assert not {"dropped"} & {key for one in place.messages() for key in one if key == "dropped" and one[key]}


def test_message_when_the_agent_is_killed_before_its_acknowledgement_then_counts_once(place: Place) -> None:
    wait_for(lambda: len(place.times()) > 3, 60)
    with stopped(place.broker):
        # What it publishes now lies in the broker's socket, unacknowledged.
        message_id = wait_for(lambda: place.message_in_flight(), 30)
        place.kill_agent()
    place.start_agent()
    killed_at = time.time()
    wait_for(lambda: place.times()[-1] > killed_at + 1, 90)
    assert message_id in [one["id"] for one in place.messages()]
    check_once(place.times())


def test_budget_when_it_is_spent_then_samples_become_sparser_are_counted_and_none_is_sent(place: Place) -> None:
    wait_for(lambda: len(place.times()) > 3, 60)
    place.agent.terminate()
    place.agent.wait()
    before = len(place.messages())
    place.start_agent(SHOAL_AGENT_TELEMETRY_BYTES_PER_DAY="1", SHOAL_AGENT_TELEMETRY_SEND_INTERVAL_S="0.2")
    wait_for(lambda: place.sending().dropped > 0, 90)
    sent = place.messages()[before:]
    assert 0 < sum(len(json.dumps(one)) for one in sent) < 16 * 1024
    left_bytes = place.sending().left_bytes
    assert left_bytes is not None
    assert left_bytes < 4096


def test_log_when_collected_then_is_text_of_this_device_and_holds_no_secret(place: Place) -> None:
    device = wait_for(place.device, 60)
    assert device is not None
    answer = place.ask("collect_logs", log_bytes=4096)
    assert answer.state == ExecutionState.SUCCEEDED, answer.message
    with place.office.database.reading() as session:
        sha256 = commands.log_of(session, answer.id)
    log = place.office.blobs.read(sha256).decode()
    assert len(log.encode()) <= 4096
    assert log.startswith(f"# {device.id}, agent ")
    whole = (place.state / "logs/agent.log").read_text()
    assert f"enrolled as {device.id}" in whole
    secret, _, _ = place.token.partition(".")
    key = (place.state / "device.key").read_text().splitlines()[1]
    for told in (log, whole):
        assert secret not in told
        assert key not in told
        assert "PRIVATE" not in told


def test_log_when_the_broker_has_a_password_and_does_not_answer_then_says_so_without_it(place: Place) -> None:
    wait_for(place.device, 60)
    place.agent.terminate()
    place.agent.wait()
    enrolled = place.state / "enrolled.json"
    told = json.loads(enrolled.read_text())
    enrolled.write_text(json.dumps({**told, "broker_url": "mqtt://shoal:hunter2@127.0.0.1:1"}))
    place.start_agent()
    log = place.state / "logs/agent.log"
    wait_for(lambda: "The broker at 127.0.0.1:1 does not answer" in log.read_text(), 60)
    assert "hunter2" not in log.read_text()


def test_log_when_another_command_was_given_then_there_is_none(place: Place) -> None:
    wait_for(place.device, 60)
    answer = place.ask("ping")
    with place.office.database.reading() as session, pytest.raises(NotFound) as caught:
        commands.log_of(session, answer.id)
    assert caught.value.code == "execution.no_log"


def test_data_when_forgotten_then_is_gone_and_the_device_is_the_same(place: Place) -> None:
    device = wait_for(place.device, 60)
    assert device is not None
    dataset = place.state / "data" / "digits"
    dataset.mkdir(parents=True)
    (dataset / "dataset.json").write_text('{"v": 1, "sample_shape": [64]}')
    (dataset / "1.safetensors").write_bytes(b"x" * 5000)
    answer = place.ask("forget_data")
    assert answer.result["forgotten"]["datasets"] == 5000 + 30
    assert not dataset.exists()
    again = place.ask("forget_data")
    assert (again.state, again.result["forgotten"]["datasets"]) == (ExecutionState.SUCCEEDED, 0)
    assert (place.state / "device.key").exists()


def test_hardware_when_measured_again_then_the_answer_has_it(place: Place) -> None:
    wait_for(place.device, 60)
    answer = place.ask("benchmark")
    assert answer.state == ExecutionState.SUCCEEDED, answer.message
    assert answer.result["measured"]["memory_bytes_per_s"] > 0
