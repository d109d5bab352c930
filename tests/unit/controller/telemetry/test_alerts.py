"""When a condition becomes an alert, and when it ends."""

from hypothesis import given
from hypothesis import strategies as st

from controller.telemetry import alerts
from controller.telemetry.alerts import Condition, Rule, Sample, State

S = 1_000_000


def rule(condition: Condition = Condition.ABOVE, *, for_s: float = 60, threshold: float | None = 80.0) -> Rule:
    return Rule(condition=condition, threshold=threshold, for_s=for_s, window_s=100)


def run(of: Rule, *samples: tuple[int, float]) -> tuple[list[State], State | None]:
    ended, standing = alerts.after_samples(of, None, [Sample(at * S, value) for at, value in samples], 10_000 * S)
    return [one.state for one in ended], None if standing is None else standing.state


def test_condition_when_it_does_not_last_then_nobody_is_told() -> None:
    assert run(rule(), (0, 81), (59, 90), (60, 80), (61, 81)) == ([], State.PENDING)


def test_condition_when_it_lasts_then_fires_and_ends_with_the_first_other_sample() -> None:
    assert run(rule(), (0, 81), (60, 81)) == ([], State.FIRING)
    assert run(rule(), (0, 81), (60, 81), (61, 80)) == ([State.RESOLVED], None)


def test_condition_when_nothing_is_to_last_then_fires_at_once_and_again() -> None:
    ended, standing = run(rule(Condition.BELOW, for_s=0), (0, 79), (1, 81), (2, 79), (3, 81), (4, 79))
    assert (ended, standing) == ([State.RESOLVED, State.RESOLVED], State.FIRING)


def test_pending_when_no_sample_comes_any_more_then_fires_by_time() -> None:
    pending = alerts.after_sample(rule(), None, Sample(0, 81), 0)
    assert pending is not None
    assert alerts.after_time(rule(), pending, 60 * S - 1).state is State.PENDING
    fired = alerts.after_time(rule(), pending, 60 * S)
    assert (fired.state, fired.since, fired.fired_at) == (State.FIRING, 0, 60 * S)


def test_silence_when_long_enough_then_fires_and_a_fresh_sample_ends_it() -> None:
    silent = rule(Condition.ABSENT, threshold=None)
    assert alerts.after_silence(silent, 0, 59 * S) is None
    firing = alerts.after_silence(silent, 0, 60 * S)
    assert firing is not None
    assert firing.value is None
    late = alerts.after_sample(silent, firing, Sample(1 * S, 5.0), 100 * S)
    assert late is firing
    fresh = alerts.after_sample(silent, firing, Sample(99 * S, 5.0), 100 * S)
    assert fresh is not None
    assert fresh.state is State.RESOLVED


def test_silence_when_an_old_sample_comes_then_makes_no_alert() -> None:
    assert alerts.after_sample(rule(Condition.ABSENT, threshold=None), None, Sample(0, 5.0), 100 * S) is None


def test_rate_when_samples_are_beside_each_other_then_says_nothing() -> None:
    rising = rule(Condition.RISING, threshold=1.0)
    assert alerts.rates(rising, [], [Sample(0, 0.0), Sample(10 * S, 100.0)]) == []
    assert alerts.rates(rising, [], [Sample(0, 0.0), Sample(50 * S, 100.0)]) == [Sample(50 * S, 2.0)]


def test_rate_when_falling_by_more_than_the_threshold_then_holds() -> None:
    falling = rule(Condition.FALLING, threshold=1.0, for_s=0)
    assert run(falling, (0, -1.0)) == ([], None)
    assert run(falling, (0, -1.1)) == ([], State.FIRING)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 160)), max_size=40), st.integers(0, 120))
def test_samples_when_cut_into_batches_anywhere_then_the_outcome_is_the_same(
    steps: list[tuple[int, float]], for_s: int
) -> None:
    at, samples = 0, []
    for step, value in steps:
        at += step * S
        samples.append(Sample(at, value))
    of = rule(for_s=for_s)
    whole = alerts.after_samples(of, None, samples, at)
    for cut in range(len(samples) + 1):
        first, standing = alerts.after_samples(of, None, samples[:cut], at)
        second, last = alerts.after_samples(of, standing, samples[cut:], at)
        assert (first + second, last) == whole


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 160)), min_size=1, max_size=40))
def test_alert_when_it_fired_then_the_condition_held_for_as_long_as_was_asked(steps: list[tuple[int, float]]) -> None:
    at, samples = 0, []
    for step, value in steps:
        at += step * S
        samples.append(Sample(at, value))
    ended, standing = alerts.after_samples(rule(), None, samples, at)
    for one in [*ended, *([standing] if standing is not None and standing.fired_at is not None else [])]:
        assert one.fired_at is not None
        assert one.fired_at - one.since >= 60 * S
        between = [sample.value for sample in samples if one.since <= sample.at <= one.fired_at]
        assert min(between) > 80.0
