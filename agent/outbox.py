"""What the device has to say: stamped, signed, journaled, then published until the broker has it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from agent.identity import Identity
from agent.journal import Journal
from agent.link import Link
from shoal.wire import topics
from shoal.wire.envelope import Message
from shoal.wire.executions import ExecutionReport, ReportState

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What a message is known and ordered by.

    Attributes:
        at: The device's wall clock, ISO 8601 UTC: information only.
    """

    session: int
    sequence: int
    boot_id: str
    at: str

    @property
    def id(self) -> str:
        """The message's id."""
        return f"{self.session}-{self.sequence}"


class Outbox:
    """Messages on their way to the controller."""

    def __init__(self, identity: Identity, journal: Journal, boot_id: str) -> None:
        self._identity = identity
        self._journal = journal
        self._boot_id = boot_id
        self._session = journal.begin_session(identity.known().session_floor)
        self._sequence = 0
        self._filled = asyncio.Event()

    def begin_session(self) -> int:
        """Begin a new session; messages are numbered from 1 again."""
        self._session = self._journal.begin_session(self._identity.known().session_floor)
        self._sequence = 0
        return self._session

    def stamp(self) -> Stamp:
        """Give the next stamp."""
        self._sequence += 1
        at = datetime.now(UTC).isoformat()
        return Stamp(session=self._session, sequence=self._sequence, boot_id=self._boot_id, at=at)

    def add(self, channel: str, make: Callable[[Stamp], Message]) -> None:
        """Say something that must arrive: journaled before it is sent."""
        topic = topics.up(self._identity.device_id, channel)
        self._journal.add_message(channel, self._identity.seal(make(self.stamp()), topic))
        self._filled.set()

    def report(self, execution_id: str, attempt: int, state: ReportState, **others: Any) -> None:
        """Say how an execution stands; `others` are fields of `ExecutionReport`."""
        self.add(
            "execution",
            lambda stamp: ExecutionReport(
                id=stamp.id,
                session=stamp.session,
                sequence=stamp.sequence,
                execution_id=execution_id,
                attempt=attempt,
                state=state,
                **others,
            ),
        )

    def wake(self) -> None:
        """Try to publish again, after a session has opened."""
        self._filled.set()

    async def publish(self, link: Link) -> None:
        """Publish what is journaled, in order, until canceled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while link.is_connected and (messages := self._journal.messages()):
                try:
                    for message in messages:
                        await link.publish(message.channel, message.payload)
                        self._journal.forget_message(message.id)
                except ConnectionError as error:
                    _log.info("what is left is sent in the next session: %s", error)
                    break
