"""Executions as rows: created, sent, reported on, timed, ended. States and timers are decided in `states`.

Everything here may happen twice or late: a report of an older attempt, or of an older `(session, sequence)`, changes
nothing, and neither does a report on what has ended already.
Not here: what an execution means (its owner judges its result, and reads its rows).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from controller import events
from controller.db import utc_now
from controller.devices import service as devices
from controller.devices.tables import DeviceRow
from controller.errors import Invalid, NotFound
from controller.executions.states import ExecutionState, Step, Timer, is_end, move, next_step, retry_after
from controller.executions.tables import ExecutionRow
from shoal.wire import topics
from shoal.wire.executions import Cancel, ExecutionKind, ExecutionReport, Offer, ReportState

Judge = Callable[[ExecutionRow], "Fault | None"]
_OPEN = [state.value for state in ExecutionState if not is_end(state)]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What shall be done once by one device.

    Attributes:
        owner_id: The rollout, round or incremental update that wants it.
        spec: The offer's spec; {} for a rollout step, which travels in the desired document.
        sent_timeout_s: How long the device, being online, may take to accept.
        progress_timeout_s: How long it may take from one report to the next.
    """

    kind: ExecutionKind
    device_id: str
    owner_id: str
    spec: Mapping[str, Any]
    sent_timeout_s: float
    progress_timeout_s: float
    max_attempts: int = 3


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why what a device calls a success is none."""

    code: str
    message: str


def create(session: Session, work: Work) -> ExecutionRow:
    """Want something of a device; sent at once if it is online.

    Raises:
        NotFound: `device.not_found`.
    """
    now = utc_now()
    row = ExecutionRow(
        kind=work.kind.value,
        device_id=work.device_id,
        owner_id=work.owner_id,
        state=ExecutionState.QUEUED,
        attempt=0,
        max_attempts=work.max_attempts,
        spec=dict(work.spec),
        sent_timeout_s=work.sent_timeout_s,
        progress_timeout_s=work.progress_timeout_s,
        waiting_for={},
        result={},
        created_at=now,
        updated_at=now,
    )
    device = session.get(DeviceRow, work.device_id)
    if device is None:
        raise NotFound("device.not_found", f"There is no device {work.device_id[:40]}.")
    session.add(row)
    session.flush()
    _apply(session, row, device, next_step(_timer(row, device), now), now)
    return row


def on_report(
    session: Session, device: DeviceRow, report: ExecutionReport, now: datetime, judge: Judge
) -> ExecutionRow:
    """Take a device's word on its execution.

    Args:
        judge: Takes the result of an open execution that has succeeded, or says what is wrong with it; the execution
            has failed then.

    Raises:
        NotFound: `execution.not_found`, also for one of another device.
        Invalid: `execution.needs_receipt`.
    """
    row = session.get(ExecutionRow, report.execution_id, with_for_update=True)
    if row is None or row.device_id != device.id:
        raise NotFound("execution.not_found", "There is no such execution of this device.")
    is_rollout_step = row.kind == ExecutionKind.ROLLOUT_STEP
    if is_rollout_step and report.state is ReportState.SUCCEEDED:
        raise Invalid("execution.needs_receipt", "A rollout step succeeds on a receipt, not on a report.")
    is_late = (report.session, report.sequence) <= (row.report_session, row.report_sequence)
    # A rollout step travels in the desired document, which knows no attempts.
    is_of_an_older_attempt = report.attempt < row.attempt and not is_rollout_step
    if is_late or is_end(ExecutionState(row.state)) or is_of_an_older_attempt:
        return row
    row.report_session, row.report_sequence = report.session, report.sequence
    row.progress = report.progress
    state = ExecutionState(report.state.value)
    if state is ExecutionState.IN_PROGRESS:
        _enter(row, state, now, deadline_at=now + timedelta(seconds=row.progress_timeout_s))
        row.message = report.message
    elif state is ExecutionState.SUCCEEDED and (fault := judge(row)) is not None:
        finish(session, row, ExecutionState.FAILED, code=fault.code, message=fault.message, now=now)
    else:
        finish(session, row, state, code=report.code, message=report.message, result=report.result, now=now)
    return row


def finish(
    session: Session,
    row: ExecutionRow,
    state: ExecutionState,
    *,
    now: datetime,
    code: str = "",
    message: str = "",
    result: Mapping[str, Any] | None = None,
) -> None:
    """End an execution.

    Raises:
        Conflict: `execution.illegal_transition`, if it has ended already.
    """
    _enter(row, state, now, deadline_at=None)
    row.code, row.message, row.result = code, message, dict(result or {})
    row.finished_at = now
    row.progress = 1.0 if state is ExecutionState.SUCCEEDED else row.progress
    data = {"kind": row.kind, "state": row.state, "owner_id": row.owner_id, "code": code}
    events.record(session, "execution.finished", subject=row.id, device_id=row.device_id, data=data)


def cancel(session: Session, row: ExecutionRow, now: datetime) -> None:
    """End an execution that is open, and tell its device to stop; one that has ended stays as it is."""
    if not is_end(ExecutionState(row.state)):
        finish(session, row, ExecutionState.CANCELED, now=now)
        _tell_to_stop(session, row.device_id, row.id)


def on_birth(session: Session, device: DeviceRow, open_ids: Collection[str], now: datetime) -> None:
    """Make device and controller agree again: offer what the device lacks, stop what has ended here."""
    rows = session.scalars(
        select(ExecutionRow).where(ExecutionRow.device_id == device.id, ExecutionRow.state.in_(_OPEN))
    ).all()
    for row in rows:
        if row.state == ExecutionState.QUEUED:
            _apply(session, row, device, next_step(_timer(row, device), now), now)
        elif row.id in open_ids:
            row.deadline_at = now + timedelta(seconds=row.progress_timeout_s)
            row.waiting_for = {"code": "device_answer", "since": now.isoformat()}
        else:
            _offer(session, row, now)  # the same attempt: the device may have its answer in the journal
    for forgotten in set(open_ids) - {row.id for row in rows}:
        _tell_to_stop(session, device.id, forgotten)


def on_offline(session: Session, device: DeviceRow, now: datetime) -> None:
    """Stop the timers of a device that has gone: it can do nothing about them."""
    for row in session.scalars(
        select(ExecutionRow).where(ExecutionRow.device_id == device.id, ExecutionRow.state.in_(_OPEN))
    ):
        row.deadline_at = None
        row.waiting_for = _offline_since(device, now)


def tick(session: Session, now: datetime, *, limit: int = 500) -> int:
    """Do what time asks for, at most `limit` executions; gives how many were due."""
    due = session.execute(
        select(ExecutionRow, DeviceRow)
        .join(DeviceRow, DeviceRow.id == ExecutionRow.device_id)
        .where(
            ExecutionRow.state.in_(_OPEN),
            DeviceRow.online.is_(True),
            or_(
                ExecutionRow.deadline_at <= now,
                (ExecutionRow.state == ExecutionState.QUEUED) & ExecutionRow.deadline_at.is_(None),
            ),
        )
        .order_by(ExecutionRow.id)
        .limit(limit)
    ).all()
    for row, device in due:
        _apply(session, row, device, next_step(_timer(row, device), now), now)
    return len(due)


def _apply(session: Session, row: ExecutionRow, device: DeviceRow, step: Step, now: datetime) -> None:
    if step is Step.SEND:
        row.attempt += 1
        _offer(session, row, now)
    elif step is Step.RETRY:
        retry_at = now + retry_after(row.attempt)
        _enter(row, ExecutionState.QUEUED, now, deadline_at=retry_at)
        row.waiting_for = {"code": "retry_at", "since": now.isoformat(), "at": retry_at.isoformat()}
    elif step is Step.TIME_OUT:
        message = f"No answer in {row.max_attempts} attempts."
        finish(session, row, ExecutionState.TIMED_OUT, now=now, code="execution.timed_out", message=message)
    elif not device.online:
        row.waiting_for = _offline_since(device, now)


def _offer(session: Session, row: ExecutionRow, now: datetime) -> None:
    deadline_at = now + timedelta(seconds=row.sent_timeout_s)
    if row.state == ExecutionState.QUEUED:
        _enter(row, ExecutionState.SENT, now, deadline_at=deadline_at)
    row.deadline_at = deadline_at
    row.waiting_for = {"code": "device_answer", "since": now.isoformat()}
    if row.kind == ExecutionKind.ROLLOUT_STEP:
        if row.attempt > 1:
            devices.republish_desired(session, row.device_id)
    else:
        offer = Offer(
            execution_id=row.id,
            type=ExecutionKind(row.kind),
            attempt=row.attempt,
            timeout_s=row.progress_timeout_s,
            spec=msgspec.Raw(msgspec.json.encode(row.spec)),
        )
        _publish(session, row.device_id, "offer", offer)


def _tell_to_stop(session: Session, device_id: str, execution_id: str) -> None:
    _publish(session, device_id, "cancel", Cancel(execution_id=execution_id))


def _publish(session: Session, device_id: str, kind: str, message: Offer | Cancel) -> None:
    body = msgspec.json.encode(message).decode()
    events.publish(session, topic=topics.down(device_id, "execution"), kind=kind, body=body)


def _enter(row: ExecutionRow, state: ExecutionState, now: datetime, *, deadline_at: datetime | None) -> None:
    row.state = move(ExecutionState(row.state), state)
    row.updated_at = now
    row.deadline_at = deadline_at
    row.waiting_for = {}


def _timer(row: ExecutionRow, device: DeviceRow) -> Timer:
    return Timer(
        state=ExecutionState(row.state),
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        is_device_online=device.online,
        deadline_at=row.deadline_at,
    )


def _offline_since(device: DeviceRow, now: datetime) -> dict[str, Any]:
    return {"code": "device_offline", "since": (device.last_seen_at or now).isoformat()}
