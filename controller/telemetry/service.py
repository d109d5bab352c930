"""Telemetry as charts want it: the newest figures, kinds, and one kind over time; and what is old goes.

What a device sent within the raw period is read from its messages; older times, and selectors of many devices, from the
sums, which the database adds up.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Float, cast, delete, func, select, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from controller.db import from_microseconds, to_microseconds
from controller.devices import selectors
from controller.devices import service as devices
from controller.devices.selector_sql import condition
from controller.devices.tables import DeviceRow
from controller.errors import Invalid, NotFound
from controller.settings import Settings
from controller.telemetry import rollup
from controller.telemetry.arrival import MICROSECONDS
from controller.telemetry.rollup import Sums, newest_decoder, samples_decoder
from controller.telemetry.tables import LatestRow, MessageRow, RollupRow

MAX_POINTS: Final = 500
_DEFAULT_RANGE: Final = timedelta(hours=1)
_SAMPLED: Final = 1000  # devices whose kinds stand for those of the fleet; numbers are random, so any of them will do
_PRUNED: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Latest:
    """The newest figure of each kind of a device."""

    device_id: str
    figures: dict[str, float]
    at: datetime
    received_at: datetime
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a chart asks for.

    Attributes:
        device, selector: Exactly one of them.
        begin, end: None: the hour before `end`, and now.
        step_s: None, or too short for the number of points: chosen.
    """

    kind: str
    device: str | None
    selector: str | None
    begin: datetime | None
    end: datetime | None
    step_s: float | None


@dataclass(frozen=True, kw_only=True)
class Point:
    """Figures of one step of time."""

    at: datetime
    mean: float
    minimum: float
    maximum: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """One kind over time."""

    kind: str
    step_s: float
    source: str
    points: list[Point]


def latest(session: Session, device_id: str) -> Latest:
    """Give the newest figures of a device.

    Raises:
        NotFound: `device.not_found`, `telemetry.not_found`.
    """
    row = session.get(LatestRow, devices.get(session, device_id).number)
    if row is None:
        raise NotFound("telemetry.not_found", "This device has not sent a sample yet.")
    figures = {kind: newest.value for kind, newest in sorted(newest_decoder.decode(row.figures).items())}
    return Latest(device_id=device_id, figures=figures, at=row.at, received_at=row.received_at, dropped=row.dropped)


def received_at(session: Session, numbers: Collection[int]) -> dict[int, datetime]:
    """Give when the newest message of some devices came, by the devices' numbers."""
    query = select(LatestRow.device, LatestRow.received_at).where(LatestRow.device.in_(numbers))
    return dict(session.execute(query).all())


def kinds(session: Session, device_id: str | None) -> list[str]:
    """Give the kinds that a device sends, or devices of the fleet.

    Raises:
        NotFound: `device.not_found`.
    """
    query = select(LatestRow.figures).limit(_SAMPLED)
    if device_id is not None:
        query = query.where(LatestRow.device == devices.get(session, device_id).number)
    return sorted({kind for figures in session.scalars(query) for kind in newest_decoder.decode(figures)})


def series(session: Session, wanted: Wanted, settings: Settings, now: datetime) -> Series:
    """Give one kind over time.

    Raises:
        Invalid: `telemetry.whose`, `telemetry.bad_range`, or what is wrong with the selector.
        NotFound: `device.not_found`.
    """
    if (wanted.device is None) == (wanted.selector is None):
        raise Invalid("telemetry.whose", "Say whose telemetry: a device, or a selector.")
    end = wanted.end or now
    begin = wanted.begin or end - _DEFAULT_RANGE
    if begin >= end:
        raise Invalid("telemetry.bad_range", "The time `from` which is before the time `to`.")
    is_raw = wanted.device is not None and begin >= now - timedelta(seconds=settings.telemetry_raw_s)
    first, last = to_microseconds(begin), to_microseconds(end)
    step_s = rollup.choose_step(
        first // MICROSECONDS,
        -(-last // MICROSECONDS),
        wanted.step_s,
        least=1 if is_raw else settings.telemetry_rollup_step_s,
        most_points=MAX_POINTS,
    )
    step = step_s * MICROSECONDS
    if is_raw:
        figures = _read_messages(session, _number(session, wanted), wanted.kind, first, last)
        found = rollup.group(figures, step)
    else:
        found = _read_rollups(session, _whose(session, wanted), wanted.kind, (first // step * step, last), step)
    points = [
        Point(
            at=from_microseconds(at),
            mean=sums.total / sums.counted,
            minimum=sums.least,
            maximum=sums.most,
            count=sums.counted,
        )
        for at, sums in sorted(found.items())
    ]
    return Series(kind=wanted.kind, step_s=step_s, source="raw" if is_raw else "rollup", points=points)


def prune(session: Session, settings: Settings, now: datetime) -> None:
    """Forget messages and sums that are older than is wanted, some at a time; what is not folded yet stays."""
    oldest = select(MessageRow.id, MessageRow.received_at, MessageRow.is_folded).order_by(MessageRow.id).limit(_PRUNED)
    bound = now - timedelta(seconds=settings.telemetry_raw_s)
    old = [number for number, at, is_folded in session.execute(oldest) if at < bound and is_folded]
    if old:
        session.execute(delete(MessageRow).where(MessageRow.id.in_(old)))
    sums_bound = now - timedelta(seconds=settings.telemetry_rollup_s)
    last = session.scalar(
        select(RollupRow.begin_at).where(RollupRow.begin_at < sums_bound).order_by(RollupRow.begin_at).limit(1)
    )
    if last is not None:  # one step of time in one go: some of each device
        few = select(RollupRow.device).where(RollupRow.begin_at == last).limit(_PRUNED)
        session.execute(delete(RollupRow).where(RollupRow.begin_at == last, RollupRow.device.in_(few)))


def _number(session: Session, wanted: Wanted) -> int:
    assert wanted.device is not None
    return devices.get(session, wanted.device).number


def _whose(session: Session, wanted: Wanted) -> ColumnElement[bool]:
    if wanted.selector is None:
        return RollupRow.device == _number(session, wanted)
    meant = selectors.accept(session, wanted.selector)
    return RollupRow.device.in_(select(DeviceRow.number).where(condition(meant.expression)))


def _read_messages(session: Session, number: int, kind: str, begin: int, end: int) -> Iterator[tuple[int, float]]:
    begin_at = type_coerce(MessageRow.begin_at, BigInteger)
    query = select(begin_at, MessageRow.body).where(
        MessageRow.device == number,
        type_coerce(MessageRow.end_at, BigInteger) >= begin,
        begin_at < end,
    )
    for of, body in session.execute(query.execution_options(yield_per=200)):
        samples = samples_decoder.decode(body)
        column = samples.series.get(kind)
        if column is not None:
            for at, figure in zip(rollup.times_of(samples, of), column, strict=True):
                if figure is not None and begin <= at < end:
                    yield at, figure


def _read_rollups(
    session: Session, whose: ColumnElement[bool], kind: str, between: tuple[int, int], step: int
) -> dict[int, Sums]:
    begin_at = type_coerce(RollupRow.begin_at, BigInteger)
    count, total, least, most = (_figure(session, kind, index) for index in range(4))
    bucket = (begin_at - begin_at % step).label("bucket")
    query = (
        select(bucket, func.sum(count), func.sum(total), func.min(least), func.max(most))
        .where(whose, begin_at >= between[0], begin_at < between[1], count.is_not(None))
        .group_by(bucket)
    )
    return {at: Sums(int(counted), *others) for at, counted, *others in session.execute(query)}


def _figure(session: Session, kind: str, index: int) -> ColumnElement[Any]:
    """Give one of the four numbers that a row has of a kind; NULL where it has none."""
    if session.get_bind().dialect.name == "postgresql":
        return cast(func.jsonb_extract_path_text(cast(RollupRow.figures, JSONB), kind, str(index)), Float)
    return func.json_extract(RollupRow.figures, f'$."{kind}"[{index}]', type_=Float)
