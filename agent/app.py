"""The composition root: builds the agent's parts, connects them, and runs them until it is told to stop."""

import asyncio
import fcntl
import functools
import logging
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from agent import VERSION, commands, conversation, door, facts, status
from agent.artifacts import ArtifactStore
from agent.commands import Commands
from agent.conversation import Conversation
from agent.door import Door
from agent.errors import AgentError
from agent.executions import Executions
from agent.federated import Federated
from agent.freshness import Freshness
from agent.hardware import kept
from agent.identity import Identity
from agent.incremental import Incremental
from agent.inference import Inference, try_variant
from agent.inventory import Inventory, survey
from agent.journal import Journal
from agent.learning import Learning
from agent.outbox import Outbox
from agent.profiles import Profiles
from agent.renewal import Renewal
from agent.rollouts import Rollouts
from agent.settings import Settings
from agent.stores import Trust
from agent.supervisor import Supervisor
from agent.telemetry import Telemetry
from shoal.wire.devices import Will
from shoal.wire.executions import ExecutionKind

_log: Final = logging.getLogger(__name__)


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
        store_trust = Trust(ca=settings.blobs_ca, without_tls=settings.blobs_http == "on")
        self._open_door = functools.partial(Door, identity, store_trust)
        store = ArtifactStore(settings.state / "artifacts", on_fetched=functools.partial(kept.note_download, settings))
        self._rollouts = Rollouts(
            journal=self._journal,
            store=store,
            inference=self._inference,
            outbox=self._outbox,
            door=self._open_door,
            trial=functools.partial(try_variant, options_of=settings.options_of),
        )
        self._learning = Learning(settings.state / "learning", settings.data_folder(), self._open_door)
        self._incremental = Incremental(learning=self._learning, inference=self._inference, outbox=self._outbox)
        self._profiles = Profiles(
            settings.state / "profiles",
            held=store,
            door=self._open_door,
            runtimes=lambda: facts.offered_runtimes(settings),
            options_of=settings.options_of,
        )
        self._inventory = Inventory(
            settings,
            boot_id=self._boot_id,
            controller_url=identity.known().controller_url,
            inference_url=lambda: self._inference.url,
            is_busy=lambda: bool(self._executions.open_ids()),
        )
        self._freshness = Freshness(self._journal)
        self._telemetry = Telemetry(
            settings,
            identity=identity,
            journal=self._journal,
            outbox=self._outbox,
            inference=self._inference,
            freshness=self._freshness,
            boot_id=self._boot_id,
        )
        self._executions = Executions(
            self._journal,
            self._outbox,
            {
                ExecutionKind.FEDERATED_ROUND: Federated(self._learning).train,
                ExecutionKind.INCREMENTAL_UPDATE: self._incremental.update,
                ExecutionKind.PROFILE: self._profiles.measure,
                ExecutionKind.COMMAND: Commands(
                    commands.Parts(
                        settings=settings,
                        identity=identity,
                        journal=self._journal,
                        learning=self._learning,
                        telemetry=self._telemetry,
                        instance=self._instance,
                        boot_id=self._boot_id,
                        restart=self._begin_anew,
                        tell_facts=self._tell_facts,
                    )
                ).do,
            },
        )
        self._supervisor = Supervisor(self._rollouts.plan, self._rollouts.run)
        self._renewal = Renewal(identity, has_lost_count=has_lost_count, on_failure=self._not_renewed)
        self._conversation = Conversation(
            conversation.Parts(
                identity=identity,
                outbox=self._outbox,
                executions=self._executions,
                rollouts=self._rollouts,
                freshness=self._freshness,
                instance=self._instance,
                boot_id=self._boot_id,
                read_facts=self._inventory.report,
                prepare=self._before_session,
                connected=self._connected,
                desired_came=self._supervisor.wake,
                refused=lambda _code, _message: None,
            )
        )
        self._link = self._conversation.link
        self._stop = asyncio.Event()
        self._is_beginning_anew = False

    async def run(self) -> bool:
        """Work until SIGTERM or SIGINT; then say goodbye and end the children. Gives whether to begin anew."""
        _log.info("agent %s of %s begins", VERSION, self._identity.device_id)
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
                ("sampling", self._telemetry.sample()),
                ("telemetry", self._telemetry.send(self._link)),
                ("renewal", self._renewal.keep()),
                ("inventory", self._inventory.watch(self._tell_changes)),
                ("status", status.keep_told(self._settings, self._live)),
            )
        ]
        self._supervisor.wake()
        self._executions.resume()
        if not self._executions.open_ids():
            self._learning.forget()
            self._profiles.forget()
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([stopping, *parts], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a part never ends by itself: raise what ended it
        finally:
            await self._close([stopping, *parts])
        return self._is_beginning_anew

    async def _before_session(self, was_refused: bool) -> None:
        await self._inventory.survey()
        await self._renewal.before_session(was_refused)

    def _connected(self) -> None:
        _log.info("the session with the broker is open")
        self._telemetry.wake()

    def _begin_anew(self) -> None:
        self._is_beginning_anew = True
        self._stop.set()

    def _not_renewed(self, error: AgentError) -> None:
        self._link.last_error = f"{error} [{error.code}]"
        if error.code in conversation.SHUT_OUT:
            self._conversation.waiting = str(error)

    async def _close(self, tasks: list[asyncio.Task[None] | asyncio.Task[bool]]) -> None:
        try:
            async with asyncio.timeout(2):
                await self._link.goodbye(Will(session=self._outbox.stamp().session, clean=True))
        except (TimeoutError, ConnectionError):
            _log.info("the broker was told nothing; its will does that")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._conversation.close()
        await self._executions.close()
        await self._learning.close()
        await self._inference.stop()
        self._telemetry.close()
        self._journal.close()

    def _tell_facts(self) -> None:
        self._conversation.tell_facts()

    def _tell_changes(self) -> None:
        if self._link.is_connected:  # else the next session tells
            self._tell_facts()

    async def _watch_serving(self) -> None:
        while True:
            await self._inference.crashed()
            self._rollouts.serving_ended()
            await asyncio.sleep(1)
            self._supervisor.wake()

    def _live(self) -> status.Live:
        return status.Live(
            pid=os.getpid(),
            boot_id=self._boot_id,
            is_connected=self._link.is_connected,
            last_error=self._link.last_error or self._freshness.problem(),
            waiting=self._conversation.waiting,
            progress=self._executions.progress(),
            monitors=self._incremental.watched,
        )


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

    around = await survey(settings, boot_id=facts.boot_id(), controller_url=url)

    def ask() -> None:
        read = facts.read_facts(settings, "", around)
        door.enroll(identity, controller_url=url, token=settings.token, facts=read)

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
