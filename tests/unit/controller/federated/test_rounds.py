"""Rounds: when one opens, closes, fails; and that every run comes to an end."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.federated.rounds import OFFLINE_GRACE, Member, OpenRound, RunSnapshot, Step, next_step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = timedelta(seconds=600)
ENDED = Member(has_ended=True, offline_since=None)
WORKING = Member(has_ended=False, offline_since=None)
JUST_AWAY = Member(has_ended=False, offline_since=NOW - OFFLINE_GRACE / 2)
LOST = Member(has_ended=False, offline_since=NOW - OFFLINE_GRACE)


def run(
    opened: OpenRound | None = None,
    *,
    closed: int = 0,
    eligible: int = 3,
    idle: timedelta = timedelta(),
    least: int = 1,
) -> RunSnapshot:
    return RunSnapshot(
        rounds_total=3,
        rounds_closed=closed,
        round=opened,
        eligible=eligible,
        idle_since=NOW - idle,
        round_timeout=TIMEOUT,
        min_updates=least,
    )


def opened(*members: Member, updates: int, age: timedelta = timedelta(seconds=1)) -> OpenRound:
    return OpenRound(started_at=NOW - age, members=members, updates=updates)


@pytest.mark.parametrize(
    ("snapshot", "step", "code"),
    [
        (run(), Step.OPEN_ROUND, ""),
        (run(closed=3), Step.SUCCEED, ""),
        (run(eligible=1, least=2), Step.WAIT, ""),
        (run(eligible=1, least=2, idle=TIMEOUT), Step.FAIL, "round.no_cohort"),
        (run(opened(ENDED, WORKING, updates=1)), Step.WAIT, ""),
        (run(opened(ENDED, ENDED, updates=2)), Step.CLOSE_ROUND, ""),
        (run(opened(ENDED, ENDED, updates=1), least=2), Step.FAIL, "round.too_few_updates"),
        (run(opened(ENDED, ENDED, updates=0)), Step.FAIL, "round.too_few_updates"),
        (run(opened(ENDED, WORKING, updates=1, age=TIMEOUT)), Step.CLOSE_ROUND, ""),
        (run(opened(ENDED, WORKING, updates=1, age=TIMEOUT), least=2), Step.FAIL, "round.too_few_updates"),
        (run(opened(ENDED, JUST_AWAY, updates=1)), Step.WAIT, ""),
        (run(opened(ENDED, LOST, updates=1)), Step.CLOSE_ROUND, ""),
        (run(opened(ENDED, LOST, updates=1), least=2), Step.WAIT, ""),
        (run(opened(LOST, WORKING, updates=1)), Step.WAIT, ""),
    ],
)
def test_next_step_when_a_run_stands_so_then_is(snapshot: RunSnapshot, step: Step, code: str) -> None:
    decision = next_step(snapshot, NOW)
    assert (decision.step, decision.code) == (step, code)


members = st.builds(
    Member,
    has_ended=st.booleans(),
    offline_since=st.none() | st.integers(0, 10_000).map(lambda seconds: NOW - timedelta(seconds=seconds)),
)
snapshots = st.builds(
    RunSnapshot,
    rounds_total=st.integers(1, 5),
    rounds_closed=st.integers(0, 5),
    round=st.none()
    | st.builds(
        OpenRound,
        started_at=st.integers(0, 10_000).map(lambda seconds: NOW - timedelta(seconds=seconds)),
        members=st.lists(members, min_size=1, max_size=6),
        updates=st.integers(0, 6),
    ),
    eligible=st.integers(0, 6),
    idle_since=st.integers(0, 10_000).map(lambda seconds: NOW - timedelta(seconds=seconds)),
    round_timeout=st.integers(1, 5_000).map(lambda seconds: timedelta(seconds=seconds)),
    min_updates=st.integers(1, 6),
)


@given(snapshots)
def test_next_step_when_any_run_then_none_closes_short_of_updates_and_none_waits_beyond_its_time(
    snapshot: RunSnapshot,
) -> None:
    step = next_step(snapshot, NOW).step
    has_enough = snapshot.round is not None and snapshot.round.updates >= snapshot.min_updates
    assert step is not Step.CLOSE_ROUND or has_enough
    assert step is not Step.OPEN_ROUND or (snapshot.round is None and snapshot.eligible >= snapshot.min_updates)
    assert (step is Step.SUCCEED) == (snapshot.round is None and snapshot.rounds_closed >= snapshot.rounds_total)
    assert next_step(snapshot, NOW + timedelta(seconds=5_000)).step is not Step.WAIT


@given(snapshots)
def test_next_step_when_nothing_happens_then_a_decision_stays_until_it_is_carried_out(snapshot: RunSnapshot) -> None:
    step = next_step(snapshot, NOW).step
    later = next_step(snapshot, NOW + timedelta(seconds=1)).step
    assert later is step or step is Step.WAIT
