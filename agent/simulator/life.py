"""One life of a virtual device: from the start of its agent's process to the end of it.

The agent's own parts, joined as `agent.app` joins them, with virtual ones where the hardware would be.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from agent.conversation import Conversation, Parts
from agent.door import Door
from agent.executions import Executions
from agent.freshness import Freshness
from agent.outbox import Outbox, Stamp
from agent.renewal import Renewal
from agent.rollouts import Rollouts
from agent.simulator import curves
from agent.simulator.chances import Chances
from agent.simulator.counters import Counters
from agent.simulator.downloads import Downloads, VirtualStore
from agent.simulator.journal import VirtualJournal
from agent.simulator.population import Machine
from agent.simulator.profile import Profile
from agent.simulator.serving import VirtualServing
from agent.simulator.store import VirtualIdentity
from agent.simulator.work import VirtualWork, Workplace, facts_now
from agent.supervisor import Supervisor
from shoal.wire import topics
from shoal.wire.devices import Will
from shoal.wire.envelope import Message
from shoal.wire.executions import ExecutionKind, ExecutionReport, ReportState
from shoal.wire.rollouts import Receipt
from shoal.wire.telemetry import Telemetry

_GOODBYE_S: Final = 10.0
_MAX_SAMPLES: Final = 60  # in one message: far below its 16 KiB
_TOLD_UNTIL: Final = "telemetry_until"  # key of the journal: seconds since 1970


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a life finds.

    Attributes:
        log: Lines that `collect_logs` sends.
        network: Set while the connection is there.
        note: Counts a trouble: a code and a sentence.
    """

    machine: Machine
    profile: Profile
    chances: Chances
    identity: VirtualIdentity
    journal: VirtualJournal
    counters: Counters
    downloads: Downloads
    boot_id: str
    log: deque[str]
    network: asyncio.Event
    note: Callable[[str, str], None]


class Life:
    """The agent's parts of one virtual device."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._ended = asyncio.Event()
        identity, journal = around.identity, around.journal
        instance = secrets.token_hex(8)
        self._outbox = _CountingOutbox(around)
        self._serving = VirtualServing(around.machine, around.profile, around.chances, self._outbox)
        self._rollouts = Rollouts(
            journal=journal,
            store=VirtualStore(journal, around.downloads),
            inference=self._serving,
            outbox=self._outbox,
            door=lambda: Door(identity),
            trial=self._serving.attempt,
        )
        work = VirtualWork(
            Workplace(
                machine=around.machine,
                profile=around.profile,
                chances=around.chances,
                journal=journal,
                identity=identity,
                downloads=around.downloads,
                instance=instance,
                boot_id=around.boot_id,
                log=lambda: "".join(f"{line}\n" for line in around.log),
                restart=self.end,
                tell_facts=self._tell_facts,
            )
        )
        self._executions = Executions(journal, self._outbox, work.kinds())
        self._supervisor = Supervisor(self._rollouts.plan, self._rollouts.run)
        self._renewal = Renewal(
            identity, has_lost_count=False, on_failure=lambda error: around.note(error.code, str(error))
        )
        self._conversation = Conversation(
            Parts(
                identity=identity,
                outbox=self._outbox,
                executions=self._executions,
                rollouts=self._rollouts,
                freshness=Freshness(journal),
                instance=instance,
                boot_id=around.boot_id,
                read_facts=lambda: facts_now(around.machine, journal),
                prepare=self._before_session,
                connected=lambda: None,
                desired_came=self._supervisor.wake,
                refused=around.note,
            )
        )
        self._link = self._conversation.link

    @property
    def is_online(self) -> bool:
        """Whether its session is open."""
        return self._link.is_connected

    def end(self) -> None:
        """End this life in order."""
        self._ended.set()

    def lose_connection(self) -> None:
        """Break the session off without a word."""
        self._link.lose()

    async def run(self) -> None:
        """Live until the end, or until canceled; say goodbye in both cases."""
        parts = [
            asyncio.create_task(part)
            for part in (
                self._link.run(),
                self._outbox.publish(self._link),
                self._supervisor.supervise(),
                self._renewal.keep(),
                self._tell_figures(),
            )
        ]
        self._supervisor.wake()
        self._executions.resume()
        ending = asyncio.create_task(self._ended.wait())
        try:
            done, _ = await asyncio.wait([ending, *parts], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {ending}:
                task.result()  # a part never ends by itself: raise what ended it
        finally:
            await self._close([ending, *parts])

    async def _close(self, tasks: "list[asyncio.Task[None] | asyncio.Task[bool]]") -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._link.goodbye(Will(session=self._outbox.stamp().session, clean=True))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._conversation.close()
        await self._executions.close()
        self._serving.close()

    async def _before_session(self, was_refused: bool) -> None:
        around = self._around
        if self._link.last_error and around.network.is_set():
            around.note("session.refused" if was_refused else "session.failed", self._link.last_error)
        await around.network.wait()
        await self._renewal.before_session(was_refused)
        around.counters.sessions += 1

    def _tell_facts(self) -> None:
        self._conversation.tell_facts()

    async def _tell_figures(self) -> None:
        """Send figures from time to time, with those that could not be sent before."""
        profile = self._around.profile
        if not profile.telemetry_interval_s:
            await asyncio.Event().wait()
        # Not all devices at once, although they may have started together.
        await asyncio.sleep(profile.telemetry_interval_s * abs(self._around.chances.around(0, 0.4)) % 1.0)
        journal = self._around.journal
        while True:
            await asyncio.sleep(profile.telemetry_interval_s)
            until = float(journal.get(_TOLD_UNTIL) or time.time() - profile.telemetry_interval_s)
            while self._link.is_connected and (times := self._times(until)):
                try:
                    await self._publish(times)
                except ConnectionError:
                    break
                until = times[-1]
                journal.put(_TOLD_UNTIL, str(until).encode())

    def _times(self, after: float) -> list[float]:
        """Give when figures were taken that are still to be sent: at the interval's multiples, of a day at most."""
        interval_s = self._around.profile.sample_interval_s
        now = time.time()
        first = max(after, now - 86_400) // interval_s + 1
        count = min(int(now // interval_s - first) + 1, _MAX_SAMPLES)
        return [(first + index) * interval_s for index in range(max(count, 0))]

    async def _publish(self, times: list[float]) -> None:
        around = self._around
        samples = [curves.figures(around.machine, at, serving=self._serving.models) for at in times]
        stamp = self._outbox.stamp()
        told = Telemetry(
            id=stamp.id,
            session=stamp.session,
            sequence=stamp.sequence,
            begin=times[0],
            offsets=[at - times[0] for at in times],
            series={kind: [sample[kind] for sample in samples] for kind in samples[0]},
        )
        payload = around.identity.seal(told, topics.up(around.identity.device_id, "telemetry"))
        await self._link.publish("telemetry", payload)
        around.counters.telemetry += 1


class _CountingOutbox(Outbox):
    """An outbox that counts what ends."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around.identity, around.journal, around.boot_id)
        self._counters = around.counters
        self._executions = around.journal

    def add(self, channel: str, make: Callable[[Stamp], Message]) -> None:
        """Say something that must arrive."""

        def counted(stamp: Stamp) -> Message:
            message = make(stamp)
            self._count(message)
            return message

        super().add(channel, counted)

    def _count(self, message: Message) -> None:
        self._counters.messages += 1
        if isinstance(message, Receipt) and message.execution_id and not message.is_fallback:
            self._counters.executions[f"{ExecutionKind.ROLLOUT_STEP}.{ReportState.SUCCEEDED}"] += 1
        if isinstance(message, ExecutionReport) and message.state is not ReportState.IN_PROGRESS:
            held = self._executions.execution(message.execution_id)
            kind = ExecutionKind.ROLLOUT_STEP if held is None else held.offer.type
            self._counters.executions[f"{kind}.{message.state}"] += 1
