"""Executions on the device: once each, whatever the broker doubles and whenever the power goes."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from agent.errors import AgentError
from agent.executions import Executions, NeverDone, Tell
from agent.federated import Federated
from agent.identity import Identity
from agent.journal import Journal
from agent.learning import Learning
from agent.outbox import Outbox
from shoal.wire.envelope import Envelope
from shoal.wire.executions import ExecutionKind, ExecutionReport, Offer, ReportState

ROUND = ExecutionKind.FEDERATED_ROUND


NUMBERS = itertools.count(1)


def offer(attempt: int = 1, *, timeout_s: float = 60, kind: ExecutionKind = ROUND) -> Offer:
    return Offer(
        execution_id="e1",
        type=kind,
        attempt=attempt,
        epoch=1,
        number=next(NUMBERS),
        timeout_s=timeout_s,
        spec=msgspec.Raw(b"{}"),
    )


class Worker:
    """Does an execution when it may, and counts."""

    def __init__(self, outcome: Callable[[], dict[str, Any]] = lambda: {"examples": 3}) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self._outcome = outcome

    async def __call__(self, _offer: Offer, tell: Tell) -> dict[str, Any]:
        self.begun += 1
        tell(0.5, "half")
        await self.may_end.wait()
        return self._outcome()


def reports(journal: Journal) -> list[ExecutionReport]:
    bodies = [msgspec.json.decode(message.payload, type=Envelope).body for message in journal.messages(limit=1000)]
    return [msgspec.json.decode(body, type=ExecutionReport) for body in bodies]


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story()

    asyncio.run(bounded())


async def ended(journal: Journal) -> ExecutionReport:
    while (last := reports(journal)[-1:]) == [] or last[0].state is ReportState.IN_PROGRESS:
        await asyncio.sleep(0.005)
    return last[0]


def test_offer_when_doubled_then_is_done_once_and_answered_from_the_journal(journal: Journal, outbox: Outbox) -> None:
    async def story() -> None:
        worker = Worker()
        executions = Executions(journal, outbox, {ROUND: worker})
        executions.take(offer())
        executions.take(offer())
        assert executions.open_ids() == ["e1"]
        worker.may_end.set()
        first = await ended(journal)
        executions.take(offer())
        again = reports(journal)[-1]
        assert worker.begun == 1
        assert (first.state, first.result) == (again.state, again.result) == (ReportState.SUCCEEDED, {"examples": 3})
        assert again.sequence > first.sequence
        assert executions.open_ids() == []

    run(story)


def test_offer_when_it_was_open_at_a_power_cut_then_is_taken_up_again(journal: Journal, outbox: Outbox) -> None:
    async def story() -> None:
        before = Executions(journal, outbox, {ROUND: Worker()})
        before.take(offer())
        await before.close()
        worker = Worker()
        worker.may_end.set()
        after = Executions(journal, outbox, {ROUND: worker})
        after.resume()
        assert (await ended(journal)).state is ReportState.SUCCEEDED
        assert worker.begun == 1

    run(story)


def test_offer_when_a_newer_attempt_follows_a_failure_then_is_done_again(journal: Journal, outbox: Outbox) -> None:
    def fail() -> dict[str, Any]:
        raise AgentError("program.failed", "no")

    async def story() -> None:
        worker = Worker(fail)
        worker.may_end.set()
        executions = Executions(journal, outbox, {ROUND: worker})
        executions.take(offer())
        first = await ended(journal)
        executions.take(offer(attempt=2))
        while worker.begun < 2 or reports(journal)[-1].state is ReportState.IN_PROGRESS:
            await asyncio.sleep(0.005)
        second = reports(journal)[-1]
        assert (first.state, first.code, first.attempt) == (ReportState.FAILED, "program.failed", 1)
        assert second.attempt == 2

    run(story)


def test_execution_when_canceled_then_stops_and_is_forgotten(journal: Journal, outbox: Outbox) -> None:
    async def story() -> None:
        executions = Executions(journal, outbox, {ROUND: Worker()})
        executions.take(offer())
        await asyncio.sleep(0)
        executions.cancel("e1")
        await asyncio.sleep(0)
        assert executions.open_ids() == []
        assert {report.state for report in reports(journal)} <= {ReportState.IN_PROGRESS}

    run(story)


def test_execution_when_it_takes_too_long_then_fails_by_name(journal: Journal, outbox: Outbox) -> None:
    async def story() -> None:
        Executions(journal, outbox, {ROUND: Worker()}).take(offer(timeout_s=0.05))
        found = await ended(journal)
        assert (found.state, found.code) == (ReportState.FAILED, "execution.timed_out")

    run(story)


def never() -> dict[str, Any]:
    raise NeverDone("dataset.empty", "no")


def stumble() -> dict[str, Any]:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("outcome", "state", "code"),
    [(never, ReportState.REJECTED, "dataset.empty"), (stumble, ReportState.FAILED, "execution.failed")],
)
def test_execution_when_it_cannot_be_done_then_ends_with_a_name(
    journal: Journal, outbox: Outbox, outcome: Callable[[], dict[str, Any]], state: ReportState, code: str
) -> None:
    async def story() -> None:
        worker = Worker(outcome)
        worker.may_end.set()
        Executions(journal, outbox, {ROUND: worker}).take(offer())
        found = await ended(journal)
        assert (found.state, found.code) == (state, code)

    run(story)


def test_offer_when_of_a_kind_that_this_agent_does_not_do_then_is_rejected(journal: Journal, outbox: Outbox) -> None:
    async def story() -> None:
        Executions(journal, outbox, {}).take(offer())
        found = await ended(journal)
        assert (found.state, found.code) == (ReportState.REJECTED, "execution.unsupported")

    run(story)


def test_offer_when_its_spec_does_not_parse_then_is_rejected(
    journal: Journal, outbox: Outbox, identity: Identity, tmp_path: Any
) -> None:
    def no_door() -> Any:
        raise AssertionError(f"{identity.device_id} asks for nothing")

    async def story() -> None:
        federated = Federated(Learning(tmp_path / "learning", tmp_path / "data", no_door))
        Executions(journal, outbox, {ROUND: federated.train}).take(offer())
        found = await ended(journal)
        assert (found.state, found.code) == (ReportState.REJECTED, "execution.malformed")

    run(story)


def test_execution_when_it_has_nothing_new_to_say_then_says_again_that_it_is_at_work(
    journal: Journal, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.executions._HEARTBEAT_S", 0.02)

    async def story() -> None:
        executions = Executions(journal, outbox, {ROUND: Worker()})
        executions.take(offer())
        while len(reports(journal)) < 4:
            await asyncio.sleep(0.005)
        assert {report.state for report in reports(journal)} == {ReportState.IN_PROGRESS}
        assert reports(journal)[-1].message == "half"
        assert executions.progress() == {"e1": (0.5, "half")}
        await executions.close()
        assert executions.progress() == {}

    run(story)
