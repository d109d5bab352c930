"""What the controller wants done once: offers taken into the journal, worked on, and answered.

Invariants: an offer is journaled before it is acknowledged, and taken up again after a restart; one that is done is
answered from the journal, never done twice; an old offer whose execution is forgotten is refused, as a broker may
repeat it; whatever the work does, it ends in a report.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from agent.errors import AgentError
from agent.journal import Journal, Outcome
from agent.outbox import Outbox
from shoal.wire.executions import Offer, ReportState

_log: Final = logging.getLogger(__name__)
_TELL_INTERVAL_S: Final = 1.0
_HEARTBEAT_S: Final = 20.0  # the controller takes silence for death
_MAX_OPEN: Final = 100  # as many as a birth can name

Tell = Callable[[float, str], None]
Work = Callable[[Offer, Tell], Awaitable[dict[str, Any]]]


class NeverDone(AgentError):
    """This device will never do it: the execution is rejected, not failed."""


class Executions:
    """The open executions, each in a task of its own; what needs the training process queues there."""

    def __init__(self, journal: Journal, outbox: Outbox, work: Mapping[str, Work]) -> None:
        self._journal = journal
        self._outbox = outbox
        self._work = work
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, _Told] = {}

    def take(self, offer: Offer) -> None:
        """Take an offer, or answer one that is known."""
        known = self._journal.execution(offer.execution_id)
        if known is None and not self._journal.is_new_offer(offer):
            # The attack: a broker repeats an old command that the journal has forgotten. A true offer that was
            # overtaken by a newer one is made again by the controller, with a new number.
            _log.error("refused the offer %s: older than what was taken (offer.replayed)", offer.execution_id)
            return
        if known is not None and known.outcome is not None:
            if known.offer.attempt >= offer.attempt or known.outcome.state is ReportState.SUCCEEDED:
                self._say(offer, known.outcome)
                return
        elif known is not None and known.offer.attempt >= offer.attempt:
            return  # it is being worked on
        if known is None and len(self._journal.open_offers()) >= _MAX_OPEN:
            self._journal.pass_over(offer)
            self._say(offer, Outcome(state=ReportState.FAILED, code="execution.too_many", message="Too much at once."))
            return
        self._stop(offer.execution_id)
        self._journal.take_offer(offer)
        self._begin(offer)

    def cancel(self, execution_id: str) -> None:
        """Stop an execution and forget it."""
        self._stop(execution_id)
        self._journal.forget_execution(execution_id)

    def resume(self) -> None:
        """Take up what was open when the agent ended."""
        for offer in self._journal.open_offers():
            self._begin(offer)

    def open_ids(self) -> list[str]:
        """Give the executions that are being worked on."""
        return [offer.execution_id for offer in self._journal.open_offers()]

    def progress(self) -> dict[str, tuple[float, str]]:
        """Give how far each is that is being worked on: 0..1, and in words."""
        return {execution_id: told.now for execution_id, told in self._told.items()}

    async def close(self) -> None:
        """Stop working; what is open stays in the journal."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, offer: Offer) -> None:
        task = asyncio.get_running_loop().create_task(self._do(offer), name=f"execution {offer.execution_id}")
        self._tasks[offer.execution_id] = task

    def _stop(self, execution_id: str) -> None:
        task = self._tasks.pop(execution_id, None)
        if task is not None:
            task.cancel()

    async def _do(self, offer: Offer) -> None:
        outcome = await self._outcome(offer)
        self._journal.end_execution(offer.execution_id, outcome)
        self._say(offer, outcome)
        self._tasks.pop(offer.execution_id, None)

    async def _outcome(self, offer: Offer) -> Outcome:
        work = self._work.get(offer.type)
        if work is None:
            return _bad(ReportState.REJECTED, "execution.unsupported", f"This agent does no {offer.type}.")
        try:
            async with asyncio.timeout(offer.timeout_s), self._telling(offer) as tell:
                return Outcome(state=ReportState.SUCCEEDED, result=await work(offer, tell))
        except NeverDone as error:
            return _bad(ReportState.REJECTED, error.code, str(error))
        except AgentError as error:
            return _bad(ReportState.FAILED, error.code, str(error))
        except TimeoutError:
            return _bad(ReportState.FAILED, "execution.timed_out", f"Not done in {offer.timeout_s:.0f} s.")
        except Exception as error:  # the loop's edge: an execution that fails unexpectedly must not stay open for ever
            _log.exception("%s %s failed", offer.type, offer.execution_id)
            return _bad(ReportState.FAILED, "execution.failed", f"{type(error).__name__}: {error}")

    @contextlib.asynccontextmanager
    async def _telling(self, offer: Offer) -> AsyncIterator[Tell]:
        """Report progress, and that the device is still at it where the work has nothing new to say."""
        told = _Told(lambda share, message: self._say_progress(offer, share, message))
        told.tell(0.0, "accepted")
        self._told[offer.execution_id] = told
        beating = asyncio.get_running_loop().create_task(told.beat())
        try:
            yield told.tell
        finally:
            beating.cancel()
            if self._told.get(offer.execution_id) is told:
                del self._told[offer.execution_id]

    def _say_progress(self, offer: Offer, share: float, message: str) -> None:
        in_progress = ReportState.IN_PROGRESS
        self._outbox.report(offer.execution_id, offer.attempt, in_progress, progress=share, message=message)

    def _say(self, offer: Offer, outcome: Outcome) -> None:
        told = {"code": outcome.code, "message": outcome.message, "result": outcome.result}
        self._outbox.report(offer.execution_id, offer.attempt, outcome.state, **told)


class _Told:
    """Lets progress through about once a second, and the same again only as a sign of life."""

    def __init__(self, say: Tell) -> None:
        self._say = say
        self._said_at = -_HEARTBEAT_S
        self._said = (-1.0, "")
        self.now = (0.0, "")

    def tell(self, share: float, message: str) -> None:
        """Say how far it is, 0..1."""
        self.now = (share, message)
        interval_s = _HEARTBEAT_S if self.now == self._said else _TELL_INTERVAL_S
        if time.monotonic() - self._said_at >= interval_s:
            self._said_at, self._said = time.monotonic(), self.now
            self._say(share, message)

    async def beat(self) -> None:
        """Say it again whenever nothing was said for long, until canceled: an epoch may take minutes."""
        while True:
            await asyncio.sleep(self._said_at + _HEARTBEAT_S - time.monotonic())
            self.tell(*self.now)


def _bad(state: ReportState, code: str, message: str) -> Outcome:
    return Outcome(state=state, code=code[:256], message=message[:2000])
