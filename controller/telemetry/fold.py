"""From new messages to the newest figures, to sums over time, and to alerts: each message exactly once.

A message is marked in the transaction that counts it, so that a kill at any moment neither loses nor doubles one. Some
hundred are folded in one transaction: a backlog never holds SQLite's one writer for long.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Connection, select, text, tuple_, type_coerce, update
from sqlalchemy.orm import Session

from controller.telemetry import rollup
from controller.telemetry.arrival import MICROSECONDS
from controller.telemetry.rollup import Figures, Newest, Samples, figures_decoder, newest_decoder, samples_decoder
from controller.telemetry.tables import LatestRow, MessageRow, RollupRow
from controller.telemetry.watching import Watch, take_turn

BATCH: Final = 250
_KEYS: Final = 400  # in one look-up: databases bound how many values a statement may name
_encoder: Final = msgspec.json.Encoder()
_NEW: Final = (
    select(
        MessageRow.id,
        MessageRow.device,
        type_coerce(MessageRow.received_at, BigInteger).label("received_at"),
        type_coerce(MessageRow.begin_at, BigInteger).label("begin_at"),
        MessageRow.body,
    )
    .where(text("NOT is_folded"))  # the partial index is found by these very words
    .order_by(MessageRow.id)
)
_WRITE_LATEST: Final = text(
    "INSERT INTO telemetry_latest (device, at, received_at, dropped, figures) "
    "VALUES (:device, :at, :received_at, :dropped, :figures) ON CONFLICT (device) DO UPDATE SET "
    "at = excluded.at, received_at = excluded.received_at, dropped = excluded.dropped, figures = excluded.figures"
)
_WRITE_ROLLUP: Final = text(
    "INSERT INTO telemetry_rollups (device, begin_at, figures) VALUES (:device, :begin_at, :figures) "
    "ON CONFLICT (device, begin_at) DO UPDATE SET figures = excluded.figures"
)


@dataclass
class _Device:
    """What is known of a device; times are microseconds since 1970."""

    newest: dict[str, Newest] = field(default_factory=dict)
    at: int = 0
    received_at: int = 0
    dropped: int = 0


def fold(session: Session, step_s: int, now: datetime, *, limit: int = BATCH) -> int:
    """Fold messages that are new, at most `limit`; gives how many there were."""
    take_turn(session)
    connection = session.connection()
    rows = connection.execute(_NEW.limit(limit)).all()
    if not rows:
        return 0
    devices = _read_latest(connection, sorted({row.device for row in rows}))
    watch = Watch(session, {number: device.newest for number, device in devices.items()}, now)
    sums: defaultdict[tuple[int, int], Figures] = defaultdict(dict)
    for _, number, received_at, begin_at, body in rows:
        samples = samples_decoder.decode(body)
        times = rollup.times_of(samples, begin_at)
        watch.see(number, samples, times)
        for bucket, figures in rollup.sum_up(samples, times, step_s * MICROSECONDS):
            rollup.merge(sums[number, bucket], figures)
        _renew(devices[number], samples, times, received_at)
    _write_latest(connection, devices)
    _write_rollups(connection, sums)
    connection.execute(update(MessageRow).where(MessageRow.id.in_([row.id for row in rows])).values(is_folded=True))
    watch.judge()
    return len(rows)


def _renew(device: _Device, samples: Samples, times: list[int], received_at: int) -> None:
    rollup.renew(device.newest, samples, times)
    device.at = max(device.at, times[-1])
    device.received_at = max(device.received_at, received_at)
    device.dropped += samples.dropped


def _read_latest(connection: Connection, numbers: list[int]) -> dict[int, _Device]:
    found = {number: _Device() for number in numbers}
    at, received_at = type_coerce(LatestRow.at, BigInteger), type_coerce(LatestRow.received_at, BigInteger)
    query = select(LatestRow.device, LatestRow.figures, at, received_at, LatestRow.dropped)
    for number, figures, *others in connection.execute(query.where(LatestRow.device.in_(numbers))):
        found[number] = _Device(newest_decoder.decode(figures), *others)
    return found


def _write_latest(connection: Connection, devices: dict[int, _Device]) -> None:
    rows = [
        {
            "device": number,
            "at": device.at,
            "received_at": device.received_at,
            "dropped": device.dropped,
            "figures": _encoder.encode(device.newest).decode(),
        }
        for number, device in devices.items()
    ]
    connection.execute(_WRITE_LATEST, rows)


def _write_rollups(connection: Connection, sums: dict[tuple[int, int], Figures]) -> None:
    keys = sorted(sums)
    begin_at = type_coerce(RollupRow.begin_at, BigInteger)
    for start in range(0, len(keys), _KEYS):
        query = select(RollupRow.device, begin_at, RollupRow.figures)
        part = keys[start : start + _KEYS]
        for number, bucket, figures in connection.execute(query.where(tuple_(RollupRow.device, begin_at).in_(part))):
            rollup.merge(sums[number, bucket], figures_decoder.decode(figures))
    rows: list[dict[str, Any]] = [
        {"device": key[0], "begin_at": key[1], "figures": _encoder.encode(sums[key]).decode()} for key in keys
    ]
    if rows:
        connection.execute(_WRITE_ROLLUP, rows)
