"""When a rule's condition on a device becomes an alert, and when it ends. Pure; times are microseconds since 1970.

| present | a sample for which it holds | one for which it does not | time alone |
| --- | --- | --- | --- |
| none | pending; firing if `for_s` is 0 | none | none; `absent`: firing after `for_s` of silence |
| pending | firing after `for_s` | none | firing after `for_s` |
| firing | firing | resolved | firing |

An `absent` rule has no pending: that it may fire later is true of every device.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from controller.telemetry.arrival import MICROSECONDS


class Condition(StrEnum):
    """What a rule watches for."""

    ABOVE = "above"
    BELOW = "below"
    ABSENT = "absent"
    RISING = "rising"
    FALLING = "falling"


RATES = frozenset({Condition.RISING, Condition.FALLING})


class State(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Sample(NamedTuple):
    """A figure, or a rate, and when it was so."""

    at: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is watched.

    Attributes:
        threshold: None for `absent` alone. Of a rate: units a second, above zero.
    """

    condition: Condition
    threshold: float | None
    for_s: float
    window_s: float

    @property
    def lasting(self) -> int:
        """How long it must hold, in microseconds."""
        return int(self.for_s * MICROSECONDS)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An alert.

    Attributes:
        since: When the condition began to hold; of `absent`: the last sample.
        value: The last figure or rate; None where a sample is absent.
    """

    state: State
    since: int
    value: float | None
    fired_at: int | None = None
    resolved_at: int | None = None


def after_sample(rule: Rule, standing: Standing | None, sample: Sample, now: int) -> Standing | None:
    """Take a sample, or a rate; None where there is no alert.

    >>> rule = Rule(condition=Condition.ABOVE, threshold=80.0, for_s=60, window_s=0)
    >>> hot = after_sample(rule, None, Sample(0, 81.0), 0)
    >>> hot.state.value, after_sample(rule, hot, Sample(60_000_000, 82.0), 0).state.value
    ('pending', 'firing')
    >>> after_sample(rule, hot, Sample(5_000_000, 79.0), 0) is None
    True
    """
    if _holds(rule, sample, now):
        if rule.condition is Condition.ABSENT:
            return standing  # silence is found by time alone
        if standing is None:
            standing = Standing(state=State.PENDING, since=sample.at, value=sample.value)
        standing = replace(standing, value=sample.value)
        if standing.state is State.PENDING and sample.at - standing.since >= rule.lasting:
            standing = replace(standing, state=State.FIRING, fired_at=sample.at)
        return standing
    if standing is not None and standing.state is State.FIRING:
        return replace(standing, state=State.RESOLVED, value=sample.value, resolved_at=sample.at)
    return None


def after_samples(
    rule: Rule, standing: Standing | None, samples: Sequence[Sample], now: int
) -> tuple[list[Standing], Standing | None]:
    """Take samples in order; gives the alerts that ended, and the one that stands."""
    ended: list[Standing] = []
    for sample in samples:
        standing = after_sample(rule, standing, sample, now)
        if standing is not None and standing.state is State.RESOLVED:
            ended.append(standing)
            standing = None
    return ended, standing


def after_time(rule: Rule, standing: Standing, now: int) -> Standing:
    """Let time pass: what is pending fires, also where no sample comes any more."""
    if standing.state is State.PENDING and now >= due_at(rule, standing):
        return replace(standing, state=State.FIRING, fired_at=now)
    return standing


def after_silence(rule: Rule, last: int, now: int) -> Standing | None:
    """Give the alert of a device that has been silent for too long.

    Args:
        last: When its last sample was, or since when it is watched.
    """
    if now - last < rule.lasting:
        return None
    return Standing(state=State.FIRING, since=last, value=None, fired_at=now)


def due_at(rule: Rule, standing: Standing) -> int:
    """Give when a pending alert fires."""
    return standing.since + rule.lasting


def rates(rule: Rule, earlier: Sequence[Sample], samples: Sequence[Sample]) -> list[Sample]:
    """Give the change a second over the rule's window, up to each of `samples`.

    From the first sample within the window to its last; none where they are less than half a window apart: two samples
    beside each other say little about a trend.

    Args:
        earlier: Samples before the first of `samples`, in order.

    >>> rule = Rule(condition=Condition.RISING, threshold=1.0, for_s=0, window_s=10)
    >>> rates(rule, [Sample(0, 20.0)], [Sample(5_000_000, 30.0), Sample(20_000_000, 30.0)])
    [Sample(at=5000000, value=2.0)]
    """
    every = [*earlier, *samples]
    times = [sample.at for sample in every]
    window = int(rule.window_s * MICROSECONDS)
    found: list[Sample] = []
    for at, value in samples:
        first = every[bisect_right(times, at - window - 1)]
        apart = at - first.at
        if apart > 0 and 2 * apart >= window:
            found.append(Sample(at, (value - first.value) * MICROSECONDS / apart))
    return found


def describe(rule: Rule, kind: str, value: float | None, *, is_over: bool = False) -> str:
    """Say what is the matter, or that it is over, in a sentence.

    >>> rule = Rule(condition=Condition.BELOW, threshold=1e6, for_s=0, window_s=0)
    >>> describe(rule, "disk.free_bytes", 12.5), describe(rule, "disk.free_bytes", 2e6, is_over=True)
    ('disk.free_bytes is 12.5: below 1e+06.', 'disk.free_bytes is 2e+06: no longer below 1e+06.')
    """
    no_longer = "no longer " if is_over else ""
    lasted = f" for {rule.for_s:g} s" if rule.for_s and not is_over else ""
    if rule.condition is Condition.ABSENT:
        return f"{kind} has come again." if is_over else f"{kind} has not come{lasted}."
    said = "unknown" if value is None else f"{value:.6g}"
    if rule.condition in RATES:
        word = "rises" if rule.condition is Condition.RISING else "falls"
        return f"{kind} changes by {said} a second: {no_longer}{word} by more than {rule.threshold:g}{lasted}."
    return f"{kind} is {said}: {no_longer}{rule.condition} {rule.threshold:g}{lasted}."


def _holds(rule: Rule, sample: Sample, now: int) -> bool:
    if rule.condition is Condition.ABSENT:
        return now - sample.at >= rule.lasting  # a sample that was kept for long says nothing about now
    threshold = rule.threshold
    assert threshold is not None
    match rule.condition:
        case Condition.ABOVE | Condition.RISING:
            return sample.value > threshold
        case Condition.BELOW:
            return sample.value < threshold
        case Condition.FALLING:
            return sample.value < -threshold
