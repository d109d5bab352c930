"""Rules on what devices send: which alerts begin, fire and end, in the transaction that folds the figures.

Devices of a rule are asked for by its selector among those of the batch, never by a scan. Silence is looked at when it
is due (`AlertWatchRow`): a device that has sent meanwhile is due again later, so that nothing is written as it sends.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from sqlalchemy import BigInteger, Select, and_, case, delete, func, insert, literal, select, text, type_coerce
from sqlalchemy.orm import Session

from controller import events
from controller.db import from_microseconds, new_id, to_microseconds
from controller.devices.lifecycle import DeviceState
from controller.devices.selector_language import Expression, parse
from controller.devices.selector_sql import Scope, condition
from controller.devices.tables import DeviceRow
from controller.errors import Invalid
from controller.telemetry import alerts, rollup
from controller.telemetry.alerts import RATES, Condition, Rule, Sample, Standing, State
from controller.telemetry.arrival import MICROSECONDS
from controller.telemetry.rollup import Newest, Samples, newest_decoder, samples_decoder
from controller.telemetry.tables import AlertRow, AlertRuleRow, AlertWatchRow, LatestRow, MessageRow

_log: Final = logging.getLogger(__name__)
_TOGETHER: Final = 20  # rules in one statement
_LOOKS: Final = 500  # alerts or watches in one step
_JOINING: Final = 5_000  # devices that a rule begins to watch in one step
_MESSAGES: Final = 16  # read at once, backwards, to find a rate's beginning
_MOST_MESSAGES: Final = 1_600
_IS_OPEN: Final = text("alerts.state <> 'resolved'")  # the partial index is found by these very words
_TURN: Final = 0x7E1E_3E72


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A rule that is watched now."""

    name: str
    kind: str
    severity: str
    rule: Rule
    meant: Expression


def take_turn(session: Session) -> None:
    """Let nobody else fold or judge until the transaction ends, also while the lease of the scheduler changes hands."""
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer anyway
        session.execute(select(func.pg_advisory_xact_lock(_TURN)))


def read_rules(session: Session) -> list[Watched]:
    """Give the rules that are enabled."""
    found = []
    for row in session.scalars(
        select(AlertRuleRow).where(AlertRuleRow.is_enabled.is_(True)).order_by(AlertRuleRow.name)
    ):
        try:
            meant = _parse(row.selector)
        except Invalid:
            _log.warning("the selector of the alert rule %s is none any more", row.name)
            continue
        rule = Rule(condition=Condition(row.condition), threshold=row.threshold, for_s=row.for_s, window_s=row.window_s)
        found.append(Watched(name=row.name, kind=row.kind, severity=row.severity, rule=rule, meant=meant))
    return found


@lru_cache(maxsize=1024)
def _parse(text: str) -> Expression:
    return parse(text).expression


class Watch:
    """One fold's look at what came.

    Args:
        newest: Of each device of the batch, as it was before.
    """

    def __init__(self, session: Session, newest: Mapping[int, Mapping[str, Newest]], now: datetime) -> None:
        self._session = session
        self._now = to_microseconds(now)
        self._rules: defaultdict[str, list[Watched]] = defaultdict(list)
        for one in read_rules(session):
            self._rules[one.kind].append(one)
        self._seen: dict[tuple[int, str], int] = {
            (device, kind): figure.at
            for device, figures in newest.items()
            for kind, figure in figures.items()
            if kind in self._rules
        }
        self._samples: defaultdict[tuple[int, str], list[Sample]] = defaultdict(list)

    def see(self, device: int, samples: Samples, times: Sequence[int]) -> None:
        """Note the samples of a message that rules ask for; one that is older than what was judged says nothing."""
        for kind in self._rules.keys() & samples.series.keys():
            seen = self._seen.get((device, kind), -1)
            new = [
                Sample(at, figure)
                for at, figure in zip(times, samples.series[kind], strict=True)
                if figure is not None and at > seen
            ]
            if new:
                self._samples[device, kind] += new
                self._seen[device, kind] = new[-1].at

    def judge(self) -> None:
        """Let alerts begin, fire and end."""
        if not self._samples:
            return
        numbers = sorted({device for device, _ in self._samples})
        rules = [one for kind in sorted({kind for _, kind in self._samples}) for one in self._rules[kind]]
        meant, ids = _members(self._session, rules, numbers)
        standing = _open_alerts(self._session, [one.name for one in rules], numbers)
        for one in rules:
            for device in numbers:
                samples = self._samples.get((device, one.kind))
                row = standing.get((one.name, device))
                if (one.name, device) not in meant:
                    if row is not None:
                        _resolve(self._session, row, self._now)
                elif samples:
                    self._judge(one, device, ids[device], row, samples)

    def _judge(self, one: Watched, device: int, device_id: str, row: AlertRow | None, samples: list[Sample]) -> None:
        if one.rule.condition in RATES:
            earlier = _earlier(self._session, device, one, samples[0].at)
            samples = alerts.rates(one.rule, earlier, samples)
        before = None if row is None else _standing(row)
        ended, after = alerts.after_samples(one.rule, before, samples, self._now)
        for last in ended:
            _save(self._session, one, device, device_id, row, last)
            self._session.flush()  # only one may be open: the next is written after it
            row = None
        if after is not None:
            _save(self._session, one, device, device_id, row, after)
        elif row is not None:  # it was pending, and nobody has heard of it
            self._session.delete(row)


def advance(session: Session, now: datetime) -> None:
    """Let time pass: what is pending fires, and who was silent for too long is told."""
    take_turn(session)
    rules = {one.name: one for one in read_rules(session)}
    _fire_pending(session, rules, now)
    _look_at_silent(session, rules, now)


def sweep(session: Session, now: datetime) -> bool:
    """Follow rules and devices: whom rules of silence mean now, and alerts that have lost their rule or device.

    Returns:
        Whether that was all; False where there was more than fits in one step.
    """
    take_turn(session)
    rules = read_rules(session)
    at = to_microseconds(now)
    known = select(AlertRuleRow.name).where(AlertRuleRow.is_enabled.is_(True))
    ended = len(_resolve_some(session, select(AlertRow).where(_IS_OPEN, AlertRow.rule.not_in(known)), at))
    for one in rules:
        is_meant = and_(DeviceRow.state == DeviceState.ACTIVE, condition(one.meant, Scope.FEW))
        query = (
            select(AlertRow)
            .join(DeviceRow, DeviceRow.number == AlertRow.device)
            .where(_IS_OPEN, AlertRow.rule == one.name, ~is_meant)
        )
        ended = max(ended, len(_resolve_some(session, query, at)))
    session.execute(delete(AlertWatchRow).where(AlertWatchRow.rule.not_in(_silent(rules))))
    for one in rules:
        if one.rule.condition is Condition.ABSENT:
            _begin_to_watch(session, one, now)
    return ended < _LOOKS


def _begin_to_watch(session: Session, one: Watched, now: datetime) -> None:
    watched = select(AlertWatchRow.device).where(AlertWatchRow.rule == one.name)
    due_at = literal(now + timedelta(seconds=one.rule.for_s), AlertWatchRow.due_at.type)
    joining = (
        select(literal(one.name), DeviceRow.number, due_at)
        .where(DeviceRow.state == DeviceState.ACTIVE, condition(one.meant), DeviceRow.number.not_in(watched))
        .limit(_JOINING)
    )
    session.execute(insert(AlertWatchRow).from_select(["rule", "device", "due_at"], joining))


def _silent(rules: Iterable[Watched]) -> list[str]:
    return [one.name for one in rules if one.rule.condition is Condition.ABSENT]


def _fire_pending(session: Session, rules: Mapping[str, Watched], now: datetime) -> None:
    due = (
        select(AlertRow)
        .where(AlertRow.state == State.PENDING, AlertRow.due_at <= now)
        .order_by(AlertRow.due_at)
        .limit(_LOOKS)
    )
    rows = session.scalars(due).all()
    meant = _still_meant(session, rules, [(row.rule, row.device) for row in rows])
    at = to_microseconds(now)
    for row in rows:
        one = rules.get(row.rule)
        if one is None or (row.rule, row.device) not in meant:
            _resolve(session, row, at)
        else:
            after = alerts.after_time(one.rule, _standing(row), at)
            _save(session, one, row.device, row.device_id, row, after)


def _look_at_silent(session: Session, rules: Mapping[str, Watched], now: datetime) -> None:
    due = (
        select(AlertWatchRow, LatestRow.figures)
        .outerjoin(LatestRow, LatestRow.device == AlertWatchRow.device)
        .where(AlertWatchRow.due_at <= now)
        .order_by(AlertWatchRow.due_at)
        .limit(_LOOKS)
    )
    looks = session.execute(due).all()
    numbers = sorted({watch.device for watch, _ in looks})
    meant = _still_meant(session, rules, [(watch.rule, watch.device) for watch, _ in looks])
    standing = _open_alerts(session, sorted({watch.rule for watch, _ in looks}), numbers)
    ids = _ids(session, numbers)
    at = to_microseconds(now)
    for watch, figures in looks:
        one, row = rules.get(watch.rule), standing.get((watch.rule, watch.device))
        if one is None or (watch.rule, watch.device) not in meant:
            session.delete(watch)
            if row is not None:
                _resolve(session, row, at)
            continue
        newest = {} if figures is None else newest_decoder.decode(figures)
        # Never heard of: it is watched since the watch began, which is when it is due for the first time.
        begun = to_microseconds(watch.due_at) - one.rule.lasting
        last = newest[one.kind].at if one.kind in newest else begun
        silent = alerts.after_silence(one.rule, last, at)
        if silent is None:
            watch.due_at = from_microseconds(last + one.rule.lasting)
            continue
        if row is None:
            _save(session, one, watch.device, ids[watch.device], None, silent)
        watch.due_at = now + timedelta(seconds=one.rule.for_s)
    session.flush()


def _still_meant(
    session: Session, rules: Mapping[str, Watched], pairs: Iterable[tuple[str, int]]
) -> set[tuple[str, int]]:
    names, numbers = {name for name, _ in pairs}, sorted({number for _, number in pairs})
    return _members(session, [one for name, one in rules.items() if name in names], numbers)[0]


def _members(
    session: Session, rules: Sequence[Watched], numbers: Sequence[int]
) -> tuple[set[tuple[str, int]], dict[int, str]]:
    """Give which active devices each rule means, and the ids of the devices."""
    meant: set[tuple[str, int]] = set()
    ids: dict[int, str] = {}
    for start in range(0, len(rules), _TOGETHER):
        part = rules[start : start + _TOGETHER]
        columns = [case((condition(one.meant, Scope.FEW), 1), else_=0) for one in part]
        query = select(DeviceRow.number, DeviceRow.id, *columns)
        is_active = and_(DeviceRow.number.in_(numbers), DeviceRow.state == DeviceState.ACTIVE)
        for number, device_id, *answers in session.execute(query.where(is_active)):
            ids[number] = device_id
            meant |= {(one.name, number) for one, answer in zip(part, answers, strict=True) if answer}
    return meant, ids


def _ids(session: Session, numbers: Sequence[int]) -> dict[int, str]:
    query = select(DeviceRow.number, DeviceRow.id).where(DeviceRow.number.in_(numbers))
    return dict(session.execute(query).all())


def _open_alerts(session: Session, names: Sequence[str], numbers: Sequence[int]) -> dict[tuple[str, int], AlertRow]:
    query = select(AlertRow).where(_IS_OPEN, AlertRow.rule.in_(names), AlertRow.device.in_(numbers))
    return {(row.rule, row.device): row for row in session.scalars(query)}


def _earlier(session: Session, device: int, one: Watched, before: int) -> list[Sample]:
    """Give a device's samples of the window that ends at `before`, in order."""
    window = int(one.rule.window_s * MICROSECONDS)
    end_at = type_coerce(MessageRow.end_at, BigInteger)
    query = (
        select(type_coerce(MessageRow.begin_at, BigInteger), end_at, MessageRow.body)
        .where(MessageRow.device == device)
        .order_by(MessageRow.session.desc(), MessageRow.sequence.desc())
    )
    found: list[Sample] = []
    for start in range(0, _MOST_MESSAGES, _MESSAGES):
        rows = session.execute(query.offset(start).limit(_MESSAGES)).all()
        for begin_at, _, body in rows:
            samples = samples_decoder.decode(body)
            times = rollup.times_of(samples, begin_at)
            found += [
                Sample(at, figure)
                for at, figure in zip(times, samples.series.get(one.kind, ()), strict=False)
                if figure is not None and before - window <= at < before
            ]
        if len(rows) < _MESSAGES or rows[-1][1] < before - window:
            break
    return sorted(found)


def _standing(row: AlertRow) -> Standing:
    return Standing(
        state=State(row.state),
        since=to_microseconds(row.since),
        value=row.value,
        fired_at=None if row.fired_at is None else to_microseconds(row.fired_at),
    )


def _save(
    session: Session, one: Watched, device: int, device_id: str, row: AlertRow | None, standing: Standing
) -> None:
    """Write down how an alert stands, and tell that it fired or was resolved."""
    was = None if row is None else State(row.state)
    if row is None:
        row = AlertRow(
            id=new_id(), rule=one.name, device=device, device_id=device_id, kind=one.kind, severity=one.severity
        )
        session.add(row)
    row.state = standing.state
    row.value = standing.value
    is_over = standing.state is State.RESOLVED
    row.message = alerts.describe(one.rule, one.kind, standing.value, is_over=is_over)
    row.since = from_microseconds(standing.since)
    is_pending = standing.state is State.PENDING
    row.due_at = from_microseconds(alerts.due_at(one.rule, standing)) if is_pending else None
    row.fired_at = None if standing.fired_at is None else from_microseconds(standing.fired_at)
    row.resolved_at = None if standing.resolved_at is None else from_microseconds(standing.resolved_at)
    if standing.fired_at is not None and was is not State.FIRING:
        _tell(session, "alert.fired", row)
    if standing.state is State.RESOLVED:
        _tell(session, "alert.resolved", row)


def _resolve(session: Session, row: AlertRow, at: int) -> None:
    """End an alert whose rule or device asks for no more; one that was pending is nobody's news."""
    if row.state == State.PENDING:
        session.delete(row)
    else:
        row.state, row.due_at, row.resolved_at = State.RESOLVED, None, from_microseconds(at)
        _tell(session, "alert.resolved", row)


def _resolve_some(session: Session, query: Select[AlertRow], at: int) -> list[AlertRow]:
    rows = list(session.scalars(query.limit(_LOOKS)))
    for row in rows:
        _resolve(session, row, at)
    return rows


def end_alerts(session: Session, name: str, now: datetime) -> None:
    """End the open alerts of a rule that watches no more; of very many the rest is left to `sweep`."""
    _resolve_some(session, select(AlertRow).where(_IS_OPEN, AlertRow.rule == name), to_microseconds(now))
    session.execute(delete(AlertWatchRow).where(AlertWatchRow.rule == name))


def _tell(session: Session, name: str, row: AlertRow) -> None:
    data = {
        "rule": row.rule,
        "kind": row.kind,
        "severity": row.severity,
        "value": row.value,
        "message": row.message,
    }
    events.record(session, name, subject=row.id, device_id=row.device_id, data=data)
