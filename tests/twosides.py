"""Both sides of an execution, and the network between them, without a broker: a test decides what is lost, doubled,
reordered, and when the agent is killed. Both sides are the real ones: services and router on a database, the agent's
executions, outbox and journal on files.
"""

import asyncio
import base64
import contextlib
import random
import secrets
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, func, select

from agent.errors import AgentError
from agent.executions import Executions, NeverDone, Tell
from agent.identity import Identity
from agent.journal import Journal
from agent.outbox import Outbox
from controller.blobs import BlobStore
from controller.db import Base, Database, utc_now
from controller.devices import identity
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.events import EventRow, OutboxRow
from controller.executions import service
from controller.executions.service import Work
from controller.executions.states import ExecutionState, Priority, is_end
from controller.executions.tables import ExecutionRow
from controller.gateway import router
from controller.gateway.access import Inbound
from controller.gateway.telemetry import TelemetryDoor
from controller.settings import Settings
from shoal.wire import envelope, signing, topics
from shoal.wire.devices import Birth, EnrollAnswer, Will
from shoal.wire.executions import Cancel, ExecutionKind, Offer
from tests.rows import add_device

DEVICE = "d-abcdefghijklmno2"


class Killed(BaseException):
    """The agent's process is gone; nothing of it runs any more."""


class MortalConnection:
    """The journal's connection: the process dies before its n-th statement, and does nothing after that."""

    def __init__(self, connection: Any, statements: float) -> None:
        self._connection = connection
        self.left = statements

    def execute(self, *arguments: Any) -> Any:
        if self.left <= 0:
            raise Killed
        self.left -= 1
        return self._connection.execute(*arguments)

    def close(self) -> None:
        self._connection.close()  # what was not committed is gone


class Agent:
    """The device's side: an agent process may die, its files stay."""

    def __init__(self, folder: Path, controller_key: Ed25519PrivateKey) -> None:
        self.loop = asyncio.new_event_loop()
        self._folder = folder
        self.identity = Identity.open(folder)
        raw = signing.raw_public_key(controller_key.public_key())
        self.identity.keep(
            EnrollAnswer(
                device_id=DEVICE,
                certificate="",
                ca="",
                broker_url="",
                controller_keys={signing.key_id_of(raw): base64.b64encode(raw).decode()},
                expires_at="",
                renew_after_s=1e6,
            ),
            "https://127.0.0.1",
        )
        self.begun: Counter[tuple[str, int]] = Counter()
        self.succeeded: set[str] = set()
        self.working: dict[str, asyncio.Future[str]] = {}
        self.statements = float("inf")
        self.start()

    def start(self) -> None:
        """Begin a process on the files."""
        self.journal = Journal(self._folder / "journal.db")
        # A success that died with its process before it was journaled was none: nobody could know of it.
        held = {execution_id: self.journal.execution(execution_id) for execution_id in self.succeeded}
        self.succeeded = {execution_id for execution_id, one in held.items() if one is not None and one.outcome}
        self.connection = MortalConnection(self.journal._db, self.statements)
        self.journal._db = self.connection  # type: ignore[assignment]
        self.instance = secrets.token_hex(8)
        self.is_alive = True
        self.outbox = Outbox(self.identity, self.journal, "boot")
        self.executions = Executions(self.journal, self.outbox, {ExecutionKind.COMMAND: self._work})
        self.run(self._resume)

    def run(self, step: Any, *arguments: Any) -> Any:
        """Let the agent do something; gives what came of it, None if it died in it."""

        async def done() -> Any:
            result = step(*arguments)
            for _ in range(20):
                await asyncio.sleep(0)
            return result

        try:
            result = self.loop.run_until_complete(done())
        except Killed:
            result = None
        if self.is_alive and self.connection.left <= 0:
            self.kill()
        return result

    def kill(self) -> None:
        """Kill -9: the tasks are gone, and what was not committed."""
        self.connection.left = 0
        self.is_alive = False

        async def end(tasks: set[asyncio.Task[Any]]) -> None:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        if tasks := asyncio.all_tasks(self.loop):
            self.loop.run_until_complete(end(tasks))
        self.working.clear()
        self.connection.close()

    def restart(self) -> None:
        """Kill it if it lives, and begin anew, now without an appointed death."""
        if self.is_alive:
            self.kill()
        self.statements = float("inf")
        self.start()

    def end_work(self, execution_id: str, how: str) -> None:
        """Let a piece of work end: `succeeded`, `rejected`, or the code of a failure."""
        self.run(lambda: self.working[execution_id].set_result(how))

    def close(self) -> None:
        if self.is_alive:
            self.kill()
        self.loop.close()

    def _resume(self) -> None:
        self.executions.resume()

    async def _work(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        assert offer.execution_id not in self.succeeded, "done again though it was done"
        self.begun[offer.execution_id, offer.attempt] += 1
        tell(0.5, "half")
        how = self.working[offer.execution_id] = asyncio.get_running_loop().create_future()
        try:
            ended = await how
        finally:
            if self.working.get(offer.execution_id) is how:
                del self.working[offer.execution_id]
        if ended == "rejected":
            raise NeverDone("command.unknown", "never")
        if ended != "succeeded":
            raise AgentError(ended, "this time")
        return {"answer": 42}


class TwoSides:
    """A controller, an agent, and messages under way in both directions."""

    def __init__(self, folder: Path) -> None:
        self.now = utc_now()
        self._key = Ed25519PrivateKey.generate()
        self.database = Database(f"sqlite:///{folder / 'shoal.db'}")
        Base.metadata.create_all(self.database.engine)
        self._blobs = BlobStore((folder / "blobs").as_uri())
        self._telemetry = TelemetryDoor(Settings(state=folder))
        self.agent = Agent(folder / "agent", self._key)
        self.down: list[tuple[str, bytes]] = []
        self.up: list[tuple[str, bytes]] = []
        self._register()

    # What happens at the controller

    def want(self, priority: Priority = Priority.NORMAL, max_attempts: int = 3) -> str:
        work = Work(
            kind=ExecutionKind.COMMAND,
            device_id=DEVICE,
            owner_id="o",
            spec={"name": "ping"},
            sent_timeout_s=30,
            progress_timeout_s=60,
            max_attempts=max_attempts,
            priority=priority,
        )
        with self.database.transaction() as session:
            return service.create(session, work).id

    def cancel(self, execution_id: str) -> None:
        with self.database.transaction() as session:
            service.cancel(session, session.get_one(ExecutionRow, execution_id), self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        with self.database.transaction() as session:
            service.tick(session, self.now)

    # What happens on the way

    def publish_down(self) -> None:
        """The gateway signs and publishes what is in the outbox, and forgets it."""
        with self.database.transaction() as session:
            for row in session.scalars(select(OutboxRow).order_by(OutboxRow.id)):
                if row.topic == topics.down(DEVICE, "execution"):
                    self.down.append(
                        (row.topic, envelope.seal_text(row.kind, row.body, topic=row.topic, key=self._key))
                    )
            session.execute(delete(OutboxRow))

    def publish_up(self) -> None:
        """The agent publishes what is in its journal, and forgets it."""
        if self.agent.is_alive:
            self.agent.run(self._publish_up)

    def _publish_up(self) -> None:
        for message in self.agent.journal.messages():
            self.up.append((topics.up(DEVICE, message.channel), message.payload))
            self.agent.journal.forget_message(message.id)

    def deliver_down(self, index: int, *, keep: bool = False) -> None:
        """The agent takes one of the messages under way; `keep` delivers it again later."""
        topic, payload = self.down[index] if keep else self.down.pop(index)
        if self.agent.is_alive:
            self.agent.run(self._receive, topic, payload)

    def _receive(self, topic: str, payload: bytes) -> None:
        message = envelope.open_envelope(payload, topic=topic, public_key_of=self.agent.identity.controller_key)
        if isinstance(message, Offer):
            self.agent.executions.take(message)
        elif isinstance(message, Cancel):
            self.agent.executions.cancel(message.execution_id)

    def deliver_up(self, index: int, *, keep: bool = False, is_rolled_back: bool = False) -> None:
        """The gateway takes one of the messages under way; where its batch is rolled back the broker keeps it."""
        topic, payload = self.up[index] if keep or is_rolled_back else self.up.pop(index)
        with contextlib.suppress(_RolledBack), self.database.transaction() as session:
            router.take(session, [Inbound(topic, payload)], self._blobs, self._telemetry, self.now)
            if is_rolled_back:
                raise _RolledBack

    def connect(self) -> None:
        """The agent begins a session: its birth is under way."""
        if self.agent.is_alive:
            self.agent.run(self._connect)

    def _connect(self) -> None:
        agent = self.agent
        session = agent.outbox.begin_session()
        birth = Birth(
            id=agent.outbox.stamp().id,
            session=session,
            instance=agent.instance,
            boot_id="boot",
            agent_version="0",
            open_executions=agent.executions.open_ids(),
        )
        topic = topics.up(DEVICE, "presence")
        self.up.append((topic, agent.identity.seal(birth, topic)))

    def lose_session(self) -> None:
        """The broker sends the will of the present session."""
        with self.database.reading() as session:
            number = session.get_one(DeviceRow, DEVICE).session
        topic = topics.up(DEVICE, "presence")
        self.up.append((topic, self.agent.identity.seal(Will(session=number), topic)))

    def settle(self, order: random.Random) -> None:
        """Let everything arrive from now on, work succeed, and time pass, until nothing is under way or due."""
        self.agent.restart()
        self.connect()
        for _ in range(60):
            for _ in range(200):
                self.publish_down()
                self.publish_up()
                if not self.up and not self.down:
                    break
                while self.up:
                    self.deliver_up(order.randrange(len(self.up)))
                while self.down:
                    self.deliver_down(order.randrange(len(self.down)))
                for execution_id in list(self.agent.working):
                    self.agent.succeeded.add(execution_id)
                    self.agent.end_work(execution_id, "succeeded")
            if not self.open():
                return
            if self._activate():
                self.connect()
            self.pass_time(700)

    def _activate(self) -> bool:
        """An operator looks at a device that births in a wild order made look like a clone."""
        with self.database.transaction() as session:
            is_suspended = session.get_one(DeviceRow, DEVICE).state == DeviceState.SUSPENDED
            if is_suspended:
                identity.activate(session, DEVICE, self.now)
            return is_suspended

    # What is seen

    def rows(self) -> list[ExecutionRow]:
        with self.database.reading() as session:
            return list(session.scalars(select(ExecutionRow).order_by(ExecutionRow.id)))

    def open(self) -> list[str]:
        return [row.id for row in self.rows() if not is_end(ExecutionState(row.state))]

    def story(self) -> str:
        """Say how everything stands, for the message of a test that failed."""
        with self.database.reading() as session:
            device = session.get_one(DeviceRow, DEVICE)
            said = [f"device {device.state}, online {device.online}, session {device.session}, {self.now}"]
        for row in self.rows():
            said.append(f"{row.id} {row.state} attempt {row.attempt}/{row.max_attempts} {row.code} {row.waiting_for}")
            said.append(f"    looked at {row.deadline_at}, report {row.report_session}-{row.report_sequence}")
        held = self.agent.journal.open_offers() if self.agent.is_alive else []
        return "\n".join([*said, f"agent works on {held}"])

    def endings(self) -> dict[str, int]:
        with self.database.reading() as session:
            query = select(EventRow.subject, func.count()).where(EventRow.name == "execution.finished")
            return {subject: int(count) for subject, count in session.execute(query.group_by(EventRow.subject))}

    def check(self) -> None:
        """What must hold at every moment."""
        rows, endings = self.rows(), self.endings()
        for row in rows:
            has_ended = is_end(ExecutionState(row.state))
            assert endings.get(row.id, 0) == has_ended, "an execution ends once"
            if not has_ended:
                assert row.deadline_at is not None, "an open execution is looked at again"
                assert row.waiting_for or row.state == ExecutionState.IN_PROGRESS, "it says what it waits for"
            if row.state == ExecutionState.SUCCEEDED:
                assert row.id in self.agent.succeeded, "only the device's success is one"
        busy = [row for row in rows if row.state in (ExecutionState.SENT, ExecutionState.IN_PROGRESS)]
        assert len(busy) <= 4, "a device has no more open commands than its lane"

    def close(self) -> None:
        self.agent.close()
        self.database.close()

    def _register(self) -> None:
        public = signing.raw_public_key(self.agent.identity._key.public_key())
        with self.database.transaction() as session:
            add_device(session, DEVICE, public_key=public)


class _RolledBack(Exception):
    """The database failed at the end of a batch."""


def states(rows: Iterable[ExecutionRow]) -> Counter[str]:
    """Count executions by state."""
    return Counter(row.state for row in rows)
