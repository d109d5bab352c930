"""The composition root: builds the agent's parts, connects them, and runs them until it is told to stop."""

import asyncio
import fcntl
import logging
import os
import random
import secrets
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Final

from agent import VERSION, door, facts, status, telemetry
from agent.artifacts import ArtifactStore
from agent.commands import Commands
from agent.door import Door
from agent.errors import AgentError
from agent.executions import Executions
from agent.federated import Federated
from agent.freshness import Freshness
from agent.identity import Identity
from agent.incremental import Incremental
from agent.inference import Inference
from agent.journal import Journal
from agent.learning import Learning
from agent.link import Handlers, Link
from agent.outbox import Outbox
from agent.renewal import Renewal
from agent.rollouts import Rollouts
from agent.settings import Settings
from agent.supervisor import Supervisor
from shoal.wire import envelope, topics
from shoal.wire.devices import Birth, ControllerState, FactsReport, Refusal, Will
from shoal.wire.errors import WireError
from shoal.wire.executions import Cancel, ExecutionKind, Offer
from shoal.wire.rollouts import Desired

_log: Final = logging.getLogger(__name__)
_SHUT_OUT: Final = frozenset({"device.pending", "device.suspended", "device.retired"})
_REBIRTH_JITTER_S: Final = 5.0


class Agent:
    """An enrolled device at work."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity
        self._journal = Journal(settings.state / "journal.db")
        self._boot_id = facts.boot_id()
        self._instance = secrets.token_hex(8)  # of this process: two of them in one session are a clone
        has_lost_count = self._journal.get("session") is None
        self._outbox = Outbox(identity, self._journal, self._boot_id)
        self._inference = Inference(settings, self._journal)
        self._rollouts = Rollouts(
            journal=self._journal,
            store=ArtifactStore(settings.state / "artifacts"),
            inference=self._inference,
            outbox=self._outbox,
            door=lambda: Door(identity),
        )
        self._learning = Learning(settings.state / "learning", settings.data_folder(), lambda: Door(identity))
        self._incremental = Incremental(learning=self._learning, inference=self._inference, outbox=self._outbox)
        self._executions = Executions(
            self._journal,
            self._outbox,
            {
                ExecutionKind.FEDERATED_ROUND: Federated(self._learning).train,
                ExecutionKind.INCREMENTAL_UPDATE: self._incremental.update,
                ExecutionKind.COMMAND: Commands(
                    self._journal, instance=self._instance, boot_id=self._boot_id, restart=self._begin_anew
                ).do,
            },
        )
        self._supervisor = Supervisor(self._rollouts.plan, self._rollouts.run)
        self._renewal = Renewal(identity, has_lost_count=has_lost_count, on_failure=self._not_renewed)
        self._link = Link(
            identity,
            Handlers(
                prepare=self._renewal.before_session,
                begin_session=self._outbox.begin_session,
                connected=self._connected,
                received=self._received,
            ),
        )
        self._freshness = Freshness(self._journal)
        self._incarnation = ""
        self._waiting = ""  # why the controller does not listen to this device
        self._stop = asyncio.Event()
        self._is_beginning_anew = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> bool:
        """Work until SIGTERM or SIGINT; then say goodbye and end the children. Gives whether to begin anew."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        parts = [
            asyncio.create_task(part, name=name)
            for name, part in (
                ("link", self._link.run()),
                ("outbox", self._outbox.publish(self._link)),
                ("supervisor", self._supervisor.supervise()),
                ("serving", self._watch_serving()),
                ("monitors", self._incremental.watch()),
                ("telemetry", self._tell()),
                ("renewal", self._renewal.keep()),
                ("status", status.keep_told(self._settings, self._live)),
            )
        ]
        self._supervisor.wake()
        self._executions.resume()
        if not self._executions.open_ids():
            self._learning.forget()
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([stopping, *parts], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a part never ends by itself: raise what ended it
        finally:
            await self._close([stopping, *parts])
        return self._is_beginning_anew

    def _begin_anew(self) -> None:
        self._is_beginning_anew = True
        self._stop.set()

    def _not_renewed(self, error: AgentError) -> None:
        self._link.last_error = f"{error} [{error.code}]"
        if error.code in _SHUT_OUT:
            self._waiting = str(error)

    async def _close(self, tasks: list[asyncio.Task[None] | asyncio.Task[bool]]) -> None:
        try:
            async with asyncio.timeout(2):
                await self._link.goodbye(Will(session=self._outbox.stamp().session, clean=True))
        except (TimeoutError, ConnectionError):
            _log.info("the broker was told nothing; its will does that")
        for task in (*tasks, *self._tasks):
            task.cancel()
        await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)
        await self._executions.close()
        await self._learning.close()
        await self._inference.stop()
        self._journal.close()

    def _connected(self) -> None:
        self._waiting = ""
        self._give_birth()
        # In every session, changed or not: a broker that was killed loses what it had acknowledged.
        report = facts.read_facts(self._settings, self._inference.url)
        self._outbox.add(
            "facts",
            lambda stamp: FactsReport(id=stamp.id, session=stamp.session, sequence=stamp.sequence, facts=report),
        )
        self._rollouts.report()
        self._outbox.wake()

    def _give_birth(self) -> None:
        desired = self._rollouts.desired
        stamp = self._outbox.stamp()
        birth = Birth(
            id=stamp.id,
            session=stamp.session,
            instance=self._instance,
            boot_id=self._boot_id,
            agent_version=VERSION,
            desired_epoch=desired.epoch,
            desired_version=desired.version,
            open_executions=self._executions.open_ids(),
            at=stamp.at,
        )
        payload = self._identity.seal(birth, topics.up(self._identity.device_id, "presence"))
        self._in_background(self._link.publish("presence", payload))

    def _received(self, topic: str, payload: bytes) -> None:
        """Take a message that came down; a bad one is logged and dropped."""
        if not payload:
            return
        try:
            message = envelope.open_envelope(payload, topic=topic, public_key_of=self._identity.controller_key)
        except WireError as error:
            _log.error("refused a message on %s: %s (%s)", topic, error, error.code)
            return
        if isinstance(message, Desired):
            if self._rollouts.accept(message):
                self._supervisor.wake()
        elif isinstance(message, Offer):
            self._executions.take(message)
        elif isinstance(message, Cancel):
            self._executions.cancel(message.execution_id)
        elif isinstance(message, ControllerState):
            self._take_state(message)
        elif isinstance(message, Refusal):
            self._take_refusal(message)
        else:
            _log.error("refused a %s: this agent does not do that", type(message).__name__)

    def _take_refusal(self, refusal: Refusal) -> None:
        _log.error("the controller refused %s: %s (%s)", refusal.message_id, refusal.message, refusal.code)
        if refusal.code in _SHUT_OUT:
            self._waiting = refusal.message
            self._link.refuse(f"{refusal.message} [{refusal.code}]")

    def _take_state(self, state: ControllerState) -> None:
        if not self._freshness.take(state):
            return
        if state.incarnation != self._incarnation and self._incarnation:
            self._in_background(self._give_birth_later())
        self._incarnation = state.incarnation

    async def _give_birth_later(self) -> None:
        await asyncio.sleep(random.uniform(0, _REBIRTH_JITTER_S))  # noqa: S311 (jitter, no secret)
        if self._link.is_connected:
            self._connected()

    async def _watch_serving(self) -> None:
        while True:
            await self._inference.crashed()
            self._rollouts.serving_ended()
            await asyncio.sleep(1)
            self._supervisor.wake()

    async def _tell(self) -> None:
        await telemetry.tell(
            identity=self._identity,
            outbox=self._outbox,
            inference=self._inference,
            link=self._link,
            interval_s=self._settings.telemetry_interval_s,
        )

    def _live(self) -> status.Live:
        return status.Live(
            pid=os.getpid(),
            boot_id=self._boot_id,
            is_connected=self._link.is_connected,
            last_error=self._link.last_error or self._freshness.problem(),
            waiting=self._waiting,
            progress=self._executions.progress(),
            monitors=self._incremental.watched,
        )

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        async def quietly() -> None:
            try:
                await work
            except ConnectionError as error:
                _log.info("not said in this session: %s", error)

        task = asyncio.get_running_loop().create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the state folder: two agents on one would be one identity twice.

    Raises:
        AgentError: `agent.already_running`.
    """
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(settings.state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"An agent is running on {settings.state} already; stop it, or set SHOAL_AGENT_STATE."
            raise AgentError("agent.already_running", message, is_final=True) from error
        yield
    finally:
        os.close(descriptor)


async def enroll(settings: Settings, identity: Identity) -> None:
    """Enrol if this device is not enrolled yet; keeps trying, with jittered backoff, while nobody answers.

    Raises:
        AgentError: `enrollment.no_token`, or what the controller refused for good.
    """
    if identity.enrolled is not None:
        return
    if not settings.token or not settings.controller_url:
        message = (
            "This device is not enrolled: set SHOAL_AGENT_CONTROLLER_URL and SHOAL_AGENT_TOKEN (or _TOKEN_FILE), "
            "write them into /etc/shoal/agent.toml, or run `shoal-agent install`."
        )
        raise AgentError("enrollment.no_token", message, is_final=True)
    url = settings.controller_url.rstrip("/")

    def ask() -> None:
        door.enroll(identity, controller_url=url, token=settings.token, facts=facts.read_facts(settings, ""))

    waits = [""]
    telling = asyncio.create_task(status.keep_told(settings, lambda: status.Live.of_enrolling(waits[0])))
    try:
        await door.patiently(ask, on_wait=lambda why: waits.__setitem__(0, why))
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    # From now on a journal without a count is one that was lost.
    journal = Journal(settings.state / "journal.db")
    journal.begin_session(identity.known().session_floor)
    journal.close()
    _log.info("enrolled as %s", identity.device_id)
