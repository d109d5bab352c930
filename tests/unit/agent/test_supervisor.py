"""The loop that runs steps: one at a time, and whatever a step does it goes on."""

import asyncio
from collections.abc import Callable

from agent.steps import Step, StepKind
from agent.supervisor import Supervisor

STEP = Step(kind=StepKind.REPORT)


class Steps:
    """Steps to do; `run` is told what each run of one does.

    Attributes:
        left: Not done yet.
        begun: How many were left at each begin.
        most: How many ran at once.
    """

    def __init__(self, count: int, *outcomes: Callable[[], object]) -> None:
        self.left = [STEP] * count
        self.begun: list[int] = []
        self.most = 0
        self.supervisor = Supervisor(self.plan, self.run)
        self._outcomes = iter(outcomes)
        self._running = 0

    def plan(self) -> Step | None:
        return self.left[-1] if self.left else None

    async def run(self, _step: Step) -> None:
        self.begun.append(len(self.left))
        self._running += 1
        self.most = max(self.most, self._running)
        self.supervisor.wake()
        await asyncio.sleep(0)
        self._running -= 1
        next(self._outcomes)()
        self.left.pop()

    async def all_done(self) -> None:
        task = asyncio.create_task(self.supervisor.supervise())
        self.supervisor.wake()
        async with asyncio.timeout(10):
            while self.left:
                await asyncio.sleep(0.005)
        task.cancel()


def good() -> None:
    """Go well."""


def bad() -> None:
    raise ZeroDivisionError


def test_steps_when_one_fails_then_it_is_tried_again_and_the_next_follows() -> None:
    steps = Steps(3, good, bad, good, good)
    asyncio.run(steps.all_done())
    assert steps.begun == [3, 2, 2, 1]


def test_steps_when_woken_in_the_middle_of_one_then_run_one_at_a_time() -> None:
    steps = Steps(3, good, good, good)
    asyncio.run(steps.all_done())
    assert (steps.begun, steps.most) == ([3, 2, 1], 1)
