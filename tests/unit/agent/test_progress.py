"""How an execution is told of, and what makes way for what: throttled, bounded, the newest attempt only."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from agent.executions import Executions, Tell
from agent.journal import Journal
from agent.outbox import Outbox
from shoal.wire.envelope import Envelope
from shoal.wire.executions import ExecutionKind, ExecutionReport, Offer, ReportState

ROUND = ExecutionKind.FEDERATED_ROUND

# Seconds since the step before, exact in binary, and the share that is told then. Of those that tell 0.4 only the
# fourth comes 20 s after the first.
STEPS = [(0.875, 0.1), (0.125, 0.2), (0.875, 0.3), (0.125, 0.4), (10.0, 0.4), (9.875, 0.4), (0.125, 0.4), (0.5, 0.4)]


class Clock:
    """Stands where it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Attempts:
    """Work that never ends by itself, and knows which attempts were begun and which were stopped."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.stopped: list[int] = []

    async def __call__(self, offer: Offer, _tell: Tell) -> dict[str, Any]:
        self.begun.append(offer.attempt)
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.append(offer.attempt)
        return {}


NUMBERS = itertools.count(1)


def offer(name: str = "e1", attempt: int = 1) -> Offer:
    return Offer(
        execution_id=name,
        type=ROUND,
        attempt=attempt,
        epoch=1,
        number=next(NUMBERS),
        timeout_s=60,
        spec=msgspec.Raw(b"{}"),
    )


def reports(journal: Journal) -> list[ExecutionReport]:
    bodies = [msgspec.json.decode(message.payload, type=Envelope).body for message in journal.messages(limit=1000)]
    return [msgspec.json.decode(body, type=ExecutionReport) for body in bodies]


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(bounded())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


def test_progress_when_told_often_then_is_said_once_a_second_and_the_same_again_only_as_a_sign_of_life(
    journal: Journal, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("agent.executions.time", clock)

    async def work(_offer: Offer, tell: Tell) -> dict[str, Any]:
        for after_s, share in STEPS:
            clock.now_s += after_s
            tell(share, "training")
        return {}

    async def story() -> None:
        Executions(journal, outbox, {ROUND: work}).take(offer())
        await until(lambda: [report.state for report in reports(journal)][-1:] == [ReportState.SUCCEEDED])

    run(story)
    told = [(report.progress, report.message) for report in reports(journal)[:-1]]
    assert told == [(0.0, "accepted"), (0.2, "training"), (0.4, "training"), (0.4, "training")]


def test_offer_when_a_newer_attempt_comes_then_the_older_one_is_stopped_and_no_older_one_is_taken(
    journal: Journal, outbox: Outbox
) -> None:
    async def story() -> None:
        work = Attempts()
        executions = Executions(journal, outbox, {ROUND: work})
        executions.take(offer())
        await until(lambda: work.begun == [1])
        executions.take(offer(attempt=2))
        await until(lambda: (work.begun, work.stopped) == ([1, 2], [1]))
        executions.take(offer(attempt=1))
        executions.take(offer(attempt=2))
        await asyncio.sleep(0)
        assert work.begun == [1, 2]
        (open_offer,) = journal.open_offers()
        assert open_offer.attempt == 2
        assert [report.attempt for report in reports(journal)] == [1, 2]
        await executions.close()

    run(story)


def test_execution_when_canceled_then_its_work_is_stopped_and_the_next_offer_is_new(
    journal: Journal, outbox: Outbox
) -> None:
    async def story() -> None:
        work = Attempts()
        executions = Executions(journal, outbox, {ROUND: work})
        executions.take(offer())
        await until(lambda: work.begun == [1])
        executions.cancel("e1")
        executions.cancel("unknown")
        await until(lambda: work.stopped == [1])
        assert journal.execution("e1") is None
        executions.take(offer())
        await until(lambda: work.begun == [1, 1])
        assert {report.state for report in reports(journal)} == {ReportState.IN_PROGRESS}
        await executions.close()

    run(story)


def test_offer_when_too_many_are_open_then_fails_by_name_and_is_not_kept(
    journal: Journal, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.executions._MAX_OPEN", 1)

    async def story() -> None:
        work = Attempts()
        executions = Executions(journal, outbox, {ROUND: work})
        executions.take(offer())
        executions.take(offer("e2"))
        (refused,) = reports(journal)
        assert (refused.execution_id, refused.state, refused.code) == ("e2", ReportState.FAILED, "execution.too_many")
        assert executions.open_ids() == ["e1"]
        executions.take(offer(attempt=2))  # what is open already may be offered anew
        await until(lambda: work.begun == [2])
        await executions.close()

    run(story)
