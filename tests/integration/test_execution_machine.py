"""Executions under loss, doubling, reordering and kills: each ends once, none is lost or stuck without a reason."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.executions.states import Priority
from tests.twosides import TwoSides, states

T = TypeVar("T")
_MEMORY = Path("/dev/shm")  # nothing here has to survive a power cut
CODES = st.sampled_from(["controller.unreachable", "process.crashed", "artifact.digest_mismatch", "rejected"])


WHICH = st.integers(0, 40)


def pick(found: Sequence[T], which: int) -> Sequence[T]:
    """Give one of what there is, or nothing; what is drawn does not depend on how much there is."""
    return [found[which % len(found)]] if found else []


class ExecutionMachine(RuleBasedStateMachine):
    """Both sides, driven through whatever a network and a power switch can do."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self.sides = TwoSides(Path(self._folder.name))
        self.ids: list[str] = []

    @initialize()
    def begin(self) -> None:
        self.sides.connect()
        self.sides.deliver_up(0)

    @rule(priority=st.sampled_from(Priority), max_attempts=st.integers(1, 4))
    def want(self, priority: Priority, max_attempts: int) -> None:
        if len(self.ids) < 8:
            self.ids.append(self.sides.want(priority, max_attempts))

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        for execution_id in pick(self.ids, which):
            self.sides.cancel(execution_id)

    @rule()
    def publish(self) -> None:
        self.sides.publish_down()
        self.sides.publish_up()

    @rule(which=WHICH, keep=st.booleans())
    def deliver_down(self, which: int, keep: bool) -> None:
        for index in pick(range(len(self.sides.down)), which):
            self.sides.deliver_down(index, keep=keep)

    @rule(which=WHICH, keep=st.booleans(), is_rolled_back=st.booleans())
    def deliver_up(self, which: int, keep: bool, is_rolled_back: bool) -> None:
        for index in pick(range(len(self.sides.up)), which):
            self.sides.deliver_up(index, keep=keep, is_rolled_back=is_rolled_back)

    @rule(which=WHICH, way=st.sampled_from(["up", "down"]))
    def lose(self, which: int, way: str) -> None:
        messages = self.sides.up if way == "up" else self.sides.down
        for index in pick(range(len(messages)), which):
            messages.pop(index)

    @rule(which=WHICH, failure=st.none() | CODES)
    def end_work(self, which: int, failure: str | None) -> None:
        agent = self.sides.agent
        for execution_id in pick(sorted(agent.working), which):
            if failure is None:
                agent.succeeded.add(execution_id)
            agent.end_work(execution_id, failure or "succeeded")

    @rule()
    def kill_agent(self) -> None:
        self.sides.agent.restart()

    @rule(statements=st.integers(1, 12))
    def appoint_death(self, statements: int) -> None:
        """The agent dies before one of the next statements of its journal, and stays dead until it is killed again."""
        if self.sides.agent.is_alive:
            self.sides.agent.connection.left = statements

    @rule()
    def connect(self) -> None:
        self.sides.connect()

    @rule()
    def lose_session(self) -> None:
        self.sides.lose_session()

    @rule(seconds=st.sampled_from([1, 40, 100, 1000]))
    def pass_time(self, seconds: float) -> None:
        self.sides.pass_time(seconds)

    @invariant()
    def holds(self) -> None:
        self.sides.check()

    def teardown(self) -> None:
        try:
            self.sides.settle(random.Random(0))
            self.sides.check()
            assert self.sides.open() == [], self.sides.story()
            assert states(self.sides.rows()).total() == len(self.ids), "none is lost, none is doubled"
        finally:
            self.sides.close()
            self._folder.cleanup()


ExecutionMachine.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_executions_when_all_goes_wrong_then_each_ends_once = ExecutionMachine.TestCase


@pytest.mark.parametrize("statements", range(1, 40))
def test_execution_when_the_agent_is_killed_at_a_line_of_its_journal_then_ends_once(
    tmp_path: Path, statements: int
) -> None:
    sides = TwoSides(tmp_path)
    sides.connect()
    sides.deliver_up(0)
    execution_id = sides.want()
    sides.publish_down()
    sides.agent.connection.left = statements
    sides.deliver_down(0)
    sides.publish_up()
    sides.settle(random.Random(statements))
    sides.check()
    assert states(sides.rows()) == {"succeeded": 1}
    assert sides.endings() == {execution_id: 1}
    sides.close()
