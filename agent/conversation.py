"""What is said when a session opens, and who is told what came down: the same for a device and for a virtual one."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from agent import VERSION
from agent.executions import Executions
from agent.freshness import Freshness
from agent.identity import Identity
from agent.link import Handlers, Link
from agent.outbox import Outbox
from agent.rollouts import Rollouts
from shoal.wire import envelope, topics
from shoal.wire.devices import Birth, ControllerState, Facts, FactsReport, Refusal
from shoal.wire.errors import WireError
from shoal.wire.executions import Cancel, Offer
from shoal.wire.rollouts import Desired

_log: Final = logging.getLogger(__name__)
SHUT_OUT: Final = frozenset({"device.pending", "device.suspended", "device.retired"})
_REBIRTH_JITTER_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Whom a conversation speaks for and to.

    Attributes:
        instance: Of this start of the agent; two of them in one session are a clone.
        read_facts: Gives what the device is.
        prepare: As `Handlers.prepare`.
        connected: A session is open, and the birth is on its way.
        desired_came: A newer desired document was journaled.
        refused: The controller, or a signature, refused something: whatever it was, a code and a sentence.
    """

    identity: Identity
    outbox: Outbox
    executions: Executions
    rollouts: Rollouts
    freshness: Freshness
    instance: str
    boot_id: str
    read_facts: Callable[[], Facts]
    prepare: Callable[[bool], Awaitable[None]]
    connected: Callable[[], None]
    desired_came: Callable[[], None]
    refused: Callable[[str, str], None]


class Conversation:
    """The device's side of the conversation with the controller.

    Attributes:
        link: The session that it is held in.
        waiting: Why the controller does not listen to this device; empty while it does.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._incarnation = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = ""
        self.link = Link(
            parts.identity,
            Handlers(
                prepare=parts.prepare,
                begin_session=parts.outbox.begin_session,
                connected=self._connected,
                received=self._received,
            ),
        )

    def tell_facts(self) -> None:
        """Say what the device is."""
        report = self._parts.read_facts()
        self._parts.outbox.add(
            "facts",
            lambda stamp: FactsReport(id=stamp.id, session=stamp.session, sequence=stamp.sequence, facts=report),
        )

    async def close(self) -> None:
        """Stop what is said in the background."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self) -> None:
        self.waiting = ""
        self._give_birth()
        # In every session, changed or not: a broker that was killed loses what it had acknowledged.
        self.tell_facts()
        self._parts.rollouts.report()
        self._parts.outbox.wake()
        self._parts.connected()

    def _give_birth(self) -> None:
        parts = self._parts
        desired = parts.rollouts.desired
        stamp = parts.outbox.stamp()
        birth = Birth(
            id=stamp.id,
            session=stamp.session,
            instance=parts.instance,
            boot_id=parts.boot_id,
            agent_version=VERSION,
            desired_epoch=desired.epoch,
            desired_version=desired.version,
            open_executions=parts.executions.open_ids(),
            at=stamp.at,
        )
        payload = parts.identity.seal(birth, topics.up(parts.identity.device_id, "presence"))
        self._in_background(self.link.publish("presence", payload))

    def _received(self, topic: str, payload: bytes) -> None:
        """Take a message that came down; a bad one is told and dropped."""
        if not payload:
            return
        parts = self._parts
        try:
            message = envelope.open_envelope(payload, topic=topic, public_key_of=parts.identity.controller_key)
        except WireError as error:
            _log.error("refused a message on %s: %s (%s)", topic, error, error.code)
            parts.refused(error.code, str(error))
            return
        if isinstance(message, Desired):
            if parts.rollouts.accept(message):
                parts.desired_came()
        elif isinstance(message, Offer):
            parts.executions.take(message)
        elif isinstance(message, Cancel):
            parts.executions.cancel(message.execution_id)
        elif isinstance(message, ControllerState):
            self._take_state(message)
        elif isinstance(message, Refusal):
            self._take_refusal(message)
        else:
            _log.error("refused a %s: this agent does not do that", type(message).__name__)

    def _take_refusal(self, refusal: Refusal) -> None:
        _log.error("the controller refused %s: %s (%s)", refusal.message_id, refusal.message, refusal.code)
        self._parts.refused(refusal.code, refusal.message)
        if refusal.code in SHUT_OUT:
            self.waiting = refusal.message
            self.link.refuse(f"{refusal.message} [{refusal.code}]")

    def _take_state(self, state: ControllerState) -> None:
        if not self._parts.freshness.take(state):
            return
        if state.incarnation != self._incarnation and self._incarnation:
            self._in_background(self._give_birth_later())
        self._incarnation = state.incarnation

    async def _give_birth_later(self) -> None:
        await asyncio.sleep(random.uniform(0, _REBIRTH_JITTER_S))  # noqa: S311 (jitter, no secret)
        if self.link.is_connected:
            self._connected()

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        async def quietly() -> None:
            try:
                await work
            except ConnectionError as error:
                _log.info("not said in this session: %s", error)

        task = asyncio.get_running_loop().create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
