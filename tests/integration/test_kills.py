"""Real processes, really killed: gateway, broker, controller and agents, at any moment; in the end counts are exact."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from agent.identity import Identity
from agent.journal import Journal, Outcome
from controller.broker import CONFIG, write_config
from controller.db import Database, utc_now
from controller.devices import enrollment
from controller.devices.tables import DeviceRow, ReceiptRow
from controller.events import SESSION_BEGUN, EventRow, OutboxRow
from controller.executions import commands, service
from controller.executions.service import Work
from controller.executions.tables import ExecutionRow
from controller.keys import Keys
from shoal.cli import embedded_broker
from shoal.schemas.devices import EnrollmentTokenRequest
from shoal.schemas.executions import CommandRequest
from shoal.wire.devices import EnrollAnswer, EnrollRequest, Facts, FactsReport
from shoal.wire.executions import ExecutionKind, ExecutionReport, ReportState
from shoal.wire.rollouts import GoldenResult, Receipt
from tests.device import Device
from tests.e2e import voyage
from tests.rig import BrokerAt, Office, broker_plan, free_port, is_listening, wait_for

ROOT = Path(__file__).parents[2]
SEED = 20_251_125


class GatewayProcess:
    """The controller of `tests.mortal_gateway`."""

    def __init__(self, broker: BrokerAt, *, dies_at: int = 0) -> None:
        command = [sys.executable, "-m", "tests.mortal_gateway", str(broker.state), broker.url, str(dies_at)]
        with (broker.state / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def dies(self) -> int:
        return self.process.wait(60)


class AgentProcess:
    """An agent that was enrolled without a door."""

    def __init__(self, office: Office, folder: Path) -> None:
        self.state = folder
        identity = Identity.open(folder)
        with office.database.transaction() as session:
            _, token = enrollment.create_token(
                session, EnrollmentTokenRequest(), ca_digest=office.keys.ca_digest, actor="test"
            )
            facts = Facts(
                hostname="?", machine="?", system="?", python="?", agent_version="?", runtimes={}, can_train=False
            )
            request = EnrollRequest(token=token, csr=identity.certificate_request(), facts=facts)
            answer = enrollment.enroll(session, office.keys, office.settings, request, utc_now())
        assert isinstance(answer, EnrollAnswer)
        identity.keep(answer, "https://127.0.0.1:9")
        journal = Journal(folder / "journal.db")
        journal.begin_session(answer.session_floor)  # without a count it would be taken for lost
        journal.close()
        self.id = answer.device_id
        environment = {
            **os.environ,
            "SHOAL_AGENT_STATE": str(folder),
            "SHOAL_AGENT_CONFIG": os.devnull,
            "SHOAL_AGENT_TELEMETRY_INTERVAL_S": "1",
        }
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def asked(state: Path, query: str) -> list[Any]:
    """Ask an agent's journal; nothing where there is none yet."""
    try:
        journal = sqlite3.connect(f"file:{state / 'journal.db'}?mode=ro", uri=True, timeout=20)
    except sqlite3.OperationalError:
        return []
    try:
        return journal.execute(query).fetchall()
    finally:
        journal.close()


def outcomes(state: Path) -> dict[str, Outcome]:
    """Give how executions ended by an agent's journal."""
    rows = asked(state, "SELECT id, outcome FROM executions WHERE outcome IS NOT NULL")
    return {execution_id: msgspec.json.decode(outcome, type=Outcome) for execution_id, outcome in rows}


def said(state: Path) -> int:
    """Count what an agent ever had to say by its journal, if the broker has acknowledged all of it; otherwise 0."""
    query = "SELECT seq FROM sqlite_sequence WHERE name = 'outbox' AND NOT EXISTS (SELECT 1 FROM outbox)"
    return sum(seq for (seq,) in asked(state, query))


class Mosquitto:
    """A broker as `shoal broker config` writes it, which comes back on what it had saved."""

    def __init__(self, program: str, state: Path) -> None:
        self.port, self.folder = free_port(), state / "mosquitto"
        self._program = program
        self.at = BrokerAt(f"mqtts://127.0.0.1:{self.port}", Keys.open(state), state, True)
        write_config(self.folder, broker_plan(self.folder, self.port), self.at.keys, is_forced=False)
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self._program, "-c", self.folder / CONFIG], stderr=log)
        wait_for(lambda: is_listening(self.port))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def saved(self) -> bytes:
        file = self.folder / "data" / "mosquitto.db"
        return file.read_bytes() if file.exists() else b""

    def await_saving(self) -> None:
        """Wait until it has just saved: the next time is ten seconds later."""
        file = self.folder / "data" / "mosquitto.db"
        before = file.stat().st_mtime_ns if file.exists() else 0
        wait_for(lambda: file.exists() and file.stat().st_mtime_ns > before, 30)


class Embedded:
    """The embedded broker as `shoal up` runs it, which comes back knowing nothing."""

    def __init__(self, state: Path) -> None:
        self._port = free_port()
        self.at = BrokerAt(
            f"mqtt://{embedded_broker.USER}:secret@127.0.0.1:{self._port}", Keys.open(state), state, False
        )
        self._config = embedded_broker.write_config(state, port=self._port, password="secret")
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "iotcore", "--config", self._config, "--log-level", "CRITICAL"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(lambda: is_listening(self._port))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def killable(mosquitto_program: str, tmp_path: Path, opened: ExitStack) -> Mosquitto:
    broker = Mosquitto(mosquitto_program, tmp_path)
    opened.callback(broker.kill)
    return broker


@pytest.fixture
def embedded(tmp_path: Path, opened: ExitStack) -> Embedded:
    broker = Embedded(tmp_path)
    opened.callback(broker.kill)
    return broker


class Ledger:
    """What the controller's database says."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, name: str) -> int:
        return sum(self.counts(name).values())

    def counts(self, name: str) -> Counter[str]:
        """Count the events of a name by their subject."""
        with self._database.reading() as session:
            return Counter(session.scalars(select(EventRow.subject).where(EventRow.name == name)))

    def device(self, device_id: str) -> DeviceRow:
        with self._database.reading() as session:
            return session.get_one(DeviceRow, device_id)

    def executions(self) -> dict[str, ExecutionRow]:
        with self._database.reading() as session:
            return {row.id: row for row in session.scalars(select(ExecutionRow))}

    def results(self) -> dict[str, dict[str, Any]]:
        return {row.id: row.result for row in self.executions().values()}

    def states(self) -> Counter[str]:
        return Counter(row.state for row in self.executions().values())

    def receipts(self) -> int:
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(ReceiptRow)) or 0

    def is_all_published(self) -> bool:
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(OutboxRow)) == 0


class House:
    """The database of a controller whose processes come and go on a broker."""

    def __init__(self, broker: BrokerAt, opened: ExitStack) -> None:
        self.broker, self._opened = broker, opened
        self.office = Office(broker)
        opened.callback(self.office.close)
        self.ledger = Ledger(self.office.database)

    def gateway(self, *, dies_at: int = 0) -> GatewayProcess:
        process = GatewayProcess(self.broker, dies_at=dies_at)
        self._opened.callback(process.kill)
        return process

    def agent(self, name: str) -> AgentProcess:
        process = AgentProcess(self.office, self.office.settings.state / name)
        self._opened.callback(process.close)
        return process

    def ping(self, times: int) -> None:
        """Ask all devices, so many times."""
        with self.office.database.transaction() as session:
            for _ in range(times):
                request = CommandRequest(name="ping", selector="all")
                commands.create(session, request, "test", utc_now())

    def await_settled(self, agent: AgentProcess) -> int:
        """Wait until an agent has nothing more to say of itself; gives how much it has said."""
        wait_for(lambda: self.ledger.device(agent.id).reported.get("epoch"), 60)
        return wait_for(lambda: said(agent.state))


def started(house: House) -> GatewayProcess:
    """Start a gateway for which the broker keeps messages from now on."""
    gateway = house.gateway()
    wait_for(lambda: house.ledger.count(SESSION_BEGUN), 60)
    return gateway


def receipt(device: Device, sequence: int) -> Receipt:
    return Receipt(
        id=f"1-{sequence}",
        session=1,
        sequence=sequence,
        boot_id="b",
        model="m",
        version=sequence,
        variant_id="v",
        slot="a",
        runtime="onnxruntime",
        runtime_version="1",
        sha256="a" * 64,
        golden=GoldenResult(samples=1, agreement=1.0, max_abs_error=0.0, passed=True),
        latency_p50_ms=1.0,
    )


def report(sequence: int, execution_id: str, state: ReportState) -> ExecutionReport:
    return ExecutionReport(
        id=f"1-{sequence}", session=1, sequence=sequence, execution_id=execution_id, attempt=1, state=state
    )


def test_gateway_when_killed_before_it_acknowledges_then_each_message_counts_once(
    mosquitto: BrokerAt, opened: ExitStack, tmp_path: Path
) -> None:
    """Mosquitto keeps the session: what was not acknowledged comes again, to one gateway after another."""
    house = House(mosquitto, opened)
    started(house).kill()
    devices = [Device(house.office, mosquitto, tmp_path) for _ in range(2)]
    wanted: dict[str, list[str]] = {}
    for device in devices:
        opened.callback(device.close)
        work = Work(
            kind=ExecutionKind.COMMAND,
            device_id=device.id,
            owner_id="c",
            spec={"name": "ping"},
            sent_timeout_s=60,
            progress_timeout_s=60,
        )
        with house.office.database.transaction() as session:
            wanted[device.id] = [service.create(session, work).id for _ in range(4)]
        device.birth()
        device.say("facts", FactsReport(id="1-2", session=1, sequence=2, facts=device.facts))
        for number, execution_id in enumerate(wanted[device.id]):
            device.say("execution", report(10 + 2 * number, execution_id, ReportState.IN_PROGRESS))
            device.say("reported", receipt(device, 30 + number))
            device.say("execution", report(11 + 2 * number, execution_id, ReportState.SUCCEEDED))
    # 28 messages wait. Each gateway takes what it finds, and dies with some of it acknowledged.
    for dies_at in (1, 2, 7, 12):
        assert house.gateway(dies_at=dies_at).dies() == -signal.SIGKILL
    house.gateway()
    devices[-1].birth(session=2)
    wait_for(lambda: house.ledger.device(devices[-1].id).session == 2, 60)
    assert house.ledger.states() == {"succeeded": 8}
    assert house.ledger.counts("execution.finished") == dict.fromkeys(
        [*wanted[devices[0].id], *wanted[devices[1].id]], 1
    )
    assert (house.ledger.receipts(), house.ledger.count("receipt.accepted")) == (8, 8)
    assert [house.ledger.device(device.id).facts_sequence for device in devices] == [2, 2]
    assert sorted(house.ledger.counts("device.online").values()) == [1, 2]
    assert house.ledger.count(SESSION_BEGUN) == 1


@pytest.mark.parametrize("dies_at", [1, 11])
def test_gateway_when_killed_while_agents_answer_then_every_command_is_done_once(
    broker: BrokerAt, opened: ExitStack, dies_at: int
) -> None:
    """Both brokers keep the gateway's session for it, as long as they live."""
    house = House(broker, opened)
    gateway = house.gateway(dies_at=dies_at)
    wait_for(lambda: house.ledger.count(SESSION_BEGUN), 60)
    agents = [house.agent("one"), house.agent("two")]
    house.ping(8)
    assert gateway.dies() == -signal.SIGKILL
    assert house.ledger.states()["succeeded"] < 16
    house.gateway()
    wait_for(lambda: house.ledger.states() == {"succeeded": 16}, 60)
    assert house.ledger.counts("execution.finished") == dict.fromkeys(house.ledger.executions(), 1)
    assert done_by(*agents) == house.ledger.results()
    assert house.ledger.count(SESSION_BEGUN) == 1


def done_by(*agents: AgentProcess | voyage.Agent) -> dict[str, dict[str, Any]]:
    """Give the results that the agents' journals hold."""
    return {execution_id: one.result for agent in agents for execution_id, one in outcomes(agent.state).items()}


def test_broker_when_killed_with_all_that_agents_said_then_births_say_it_again(
    killable: Mosquitto, opened: ExitStack
) -> None:
    """What Mosquitto has acknowledged and not saved is lost, and it says that it kept the gateway's session."""
    house = House(killable.at, opened)
    gateway = started(house)
    agent = house.agent("one")
    before = house.await_settled(agent)
    killable.await_saving()
    agent.process.send_signal(signal.SIGSTOP)
    house.ping(4)
    wait_for(house.ledger.is_all_published)
    gateway.kill()
    agent.process.send_signal(signal.SIGCONT)
    newcomer = house.agent("two")
    wait_for(lambda: said(agent.state) == before + 8)  # to each ping: that it was taken up, and the answer
    wait_for(lambda: said(newcomer.state) >= 2)  # facts, and what it runs
    killable.kill()
    saved = killable.saved()
    assert b"controller-1" in saved
    assert b"execution_report" not in saved
    assert newcomer.id.encode() not in saved
    done = done_by(agent)
    killable.start()
    house.gateway()
    wait_for(lambda: house.ledger.states() == {"succeeded": 4}, 60)
    assert house.ledger.counts("execution.finished") == dict.fromkeys(done, 1)
    assert (house.ledger.results(), done_by(agent)) == (done, done)
    assert {row.attempt for row in house.ledger.executions().values()} == {1}
    wait_for(
        lambda: house.ledger.device(newcomer.id).facts_session and house.ledger.device(newcomer.id).reported_session
    )
    assert house.ledger.device(newcomer.id).facts["hostname"] != "?"
    assert house.ledger.count(SESSION_BEGUN) == 1


def test_embedded_broker_when_killed_then_a_new_incarnation_makes_agents_give_birth_again(
    embedded: Embedded, opened: ExitStack
) -> None:
    """It keeps nothing: not even that the gateway wants to hear what agents say when they are back before it."""
    house = House(embedded.at, opened)
    gateway = started(house)
    agent = house.agent("one")
    before = house.await_settled(agent)
    agent.process.send_signal(signal.SIGSTOP)
    house.ping(4)
    wait_for(house.ledger.is_all_published)
    gateway.kill()
    agent.process.send_signal(signal.SIGCONT)
    wait_for(lambda: said(agent.state) == before + 8)
    embedded.kill()
    embedded.start()
    wait_for(lambda: said(agent.state) >= before + 10, 60)  # facts and what it runs, in a new session: nobody listens
    house.gateway()
    wait_for(lambda: house.ledger.states() == {"succeeded": 4}, 60)
    assert house.ledger.counts("execution.finished") == dict.fromkeys(house.ledger.executions(), 1)
    assert house.ledger.results() == done_by(agent)
    assert house.ledger.count(SESSION_BEGUN) == 2


def test_broker_when_killed_with_a_receipt_then_the_step_is_proven_by_the_next_attempt(
    killable: Mosquitto, opened: ExitStack, tmp_path: Path
) -> None:
    controller = voyage.Controller(killable.at, "")
    opened.callback(controller.close)
    agent = voyage.Agent(tmp_path / "agent", controller, controller.token())
    opened.callback(agent.close)
    (device,) = voyage.online(controller, 1)
    version = controller.new_version()
    controller.await_state(controller.roll_out(version), "succeeded")
    ledger = Ledger(controller.database)
    killable.await_saving()
    agent.process.send_signal(signal.SIGSTOP)
    before = said(agent.state)
    rollout_id = controller.roll_out(version)  # wants a proof of what serves already: nothing is fetched for it
    execution_id = wait_for(lambda: controller.get(f"/rollouts/{rollout_id}/targets")["items"][0]["execution_id"])
    wait_for(ledger.is_all_published)
    controller.kill()
    agent.process.send_signal(signal.SIGCONT)
    wait_for(lambda: said(agent.state) == before + 2)  # the receipt, and what it runs
    killable.kill()
    assert b"receipt" not in killable.saved()
    session = ledger.device(device["id"]).session
    killable.start()
    controller.start()
    wait_for(lambda: ledger.device(device["id"]).session > session, 60)
    assert ledger.executions()[execution_id].state == "sent"
    with controller.database.transaction() as writing:
        writing.get_one(ExecutionRow, execution_id).deadline_at = utc_now()  # two minutes pass
    controller.await_state(rollout_id, "succeeded")
    assert ledger.executions()[execution_id].attempt == 2
    assert ledger.counts("execution.finished") == dict.fromkeys(ledger.executions(), 1)
    assert ledger.receipts() == 2


def test_commands_when_agents_and_controller_are_killed_at_any_moment_then_each_is_done_once(
    mosquitto: BrokerAt, opened: ExitStack, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    controller = voyage.Controller(mosquitto, "")
    opened.callback(controller.close)
    agents = [voyage.Agent(tmp_path / f"agent{number}", controller, controller.token()) for number in range(2)]
    for agent in agents:
        opened.callback(agent.kill)  # it may be just starting
    voyage.online(controller, 2)
    names = chance.sample(["ping"] * 30 + ["restart_agent"] * 6, 36)
    for first in range(0, len(names), 3):
        for name in names[first : first + 3]:
            answer = controller.api.post("/commands", json={"name": name, "selector": "all"})
            assert answer.status_code == 201, answer.text
        victim = chance.choice([*agents, controller])
        time.sleep(chance.uniform(0, 0.7))  # at any moment: not to wait for anything
        victim.kill()
        time.sleep(chance.uniform(0, 0.5))
        victim.start()
    ledger = Ledger(controller.database)
    wait_for(lambda: ledger.states() == {"succeeded": 72}, 120)
    assert ledger.counts("execution.finished") == dict.fromkeys(ledger.executions(), 1)
    assert ledger.results() == done_by(*agents)
