"""Executions as rows: created, reported on, timed, tried again, ended. What is decided stands in `states`,
`retries` and `lanes`, what is sent in `dispatch`.

Everything here may happen twice or late: a report of an older attempt, or of an older `(session, sequence)`, changes
nothing, and neither does a report on what has ended already.
Not here: what an execution means (its owner judges its result, and reads its rows).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.db import utc_now
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.errors import Invalid, NotFound
from controller.executions import dispatch
from controller.executions.lanes import LIMITS
from controller.executions.retries import ErrorClass, class_of, retry_at
from controller.executions.states import ExecutionState, Priority, Step, Timer, is_end, next_step
from controller.executions.tables import ExecutionRow
from shoal.wire.executions import ExecutionKind, ExecutionReport, ReportState

Judge = Callable[[ExecutionRow], "Fault | None"]
_OPEN: Final = [state.value for state in ExecutionState if not is_end(state)]
_NINETY_DAYS_S: Final = 90 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What shall be done once by one device.

    Attributes:
        owner_id: The rollout, round, incremental update or command that wants it.
        spec: The offer's spec; {} for a rollout step, which travels in the desired document.
        sent_timeout_s: How long the device, being online, may take to accept.
        progress_timeout_s: How long it may take from one report to the next.
        max_attempts: At most; a failure's class may allow fewer.
        expires_in_s: After this it ends as `execution.expired`, whatever it waits for.
    """

    kind: ExecutionKind
    device_id: str
    owner_id: str
    spec: Mapping[str, Any]
    sent_timeout_s: float
    progress_timeout_s: float
    max_attempts: int = 3
    priority: Priority = Priority.NORMAL
    expires_in_s: float = _NINETY_DAYS_S


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why what a device calls a success is none."""

    code: str
    message: str


def create(session: Session, work: Work) -> ExecutionRow:
    """Want something of a device; sent at once if it is online and has room for it.

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
        priority=work.priority,
        expires_at=now + timedelta(seconds=work.expires_in_s),
        spec=dict(work.spec),
        sent_timeout_s=work.sent_timeout_s,
        progress_timeout_s=work.progress_timeout_s,
        waiting_for={},
        result={},
        code="",
        created_at=now,
        updated_at=now,
    )
    device = session.get(DeviceRow, work.device_id)
    if device is None:
        raise NotFound("device.not_found", f"There is no device {work.device_id[:40]}.")
    session.add(row)
    session.flush()
    if device.state == DeviceState.RETIRED:
        finish(session, row, ExecutionState.CANCELED, code="device.retired", now=now)
    else:
        _send(session, row, device, now)
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
    if row.kind == ExecutionKind.ROLLOUT_STEP and report.state is ReportState.SUCCEEDED:
        raise Invalid("execution.needs_receipt", "A rollout step succeeds on a receipt, not on a report.")
    is_late = (report.session, report.sequence) <= (row.report_session, row.report_sequence)
    if is_late or is_end(ExecutionState(row.state)) or report.attempt < row.attempt:
        return row
    row.report_session, row.report_sequence = report.session, report.sequence
    row.progress = report.progress
    state = ExecutionState(report.state.value)
    if state is ExecutionState.IN_PROGRESS:
        dispatch.enter(row, state, now)
        row.deadline_at = min(now + timedelta(seconds=row.progress_timeout_s), row.expires_at)
        row.message = report.message
    elif state is ExecutionState.SUCCEEDED and (fault := judge(row)) is not None:
        finish(session, row, ExecutionState.FAILED, code=fault.code, message=fault.message, now=now)
    elif state is ExecutionState.FAILED:
        _fail(session, row, class_of(report.code), state, report.code, report.message, now)
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
    """End an execution; what waited behind it on its device is sent.

    Raises:
        Conflict: `execution.illegal_transition`, if it has ended already.
    """
    dispatch.enter(row, state, now)
    row.deadline_at = row.not_before = None
    row.code, row.message, row.result = code, message, dict(result or {})
    row.finished_at = now
    row.progress = 1.0 if state is ExecutionState.SUCCEEDED else row.progress
    data = {"kind": row.kind, "state": row.state, "owner_id": row.owner_id, "code": code}
    events.record(session, "execution.finished", subject=row.id, device_id=row.device_id, data=data)
    if row.kind in LIMITS:
        dispatch.fill(session, session.get_one(DeviceRow, row.device_id), now)


def cancel(session: Session, row: ExecutionRow, now: datetime) -> None:
    """End an execution that is open, and tell its device to stop; one that has ended stays as it is."""
    if not is_end(ExecutionState(row.state)):
        finish(session, row, ExecutionState.CANCELED, now=now)
        dispatch.tell_to_stop(session, row.device_id, row.id)


def on_birth(session: Session, device: DeviceRow, open_ids: Collection[str], now: datetime) -> None:
    """Make device and controller agree again: offer what the device lacks, stop what has ended here."""
    rows = _open_of(session, device.id)
    queued = [row for row in rows if row.state == ExecutionState.QUEUED]
    for row in rows:
        if row in queued:
            continue
        if row.id in open_ids:
            row.deadline_at = min(now + timedelta(seconds=row.progress_timeout_s), row.expires_at)
            row.waiting_for = {"code": "device_answer", "since": now.isoformat()}
        else:
            dispatch.offer(session, row, device, now)  # the device may have its answer in the journal
    dispatch.fill(session, device, now)
    for row in queued:
        if row.state == ExecutionState.QUEUED:
            dispatch.rest(row, device, now)
    for forgotten in set(open_ids) - {row.id for row in rows}:
        dispatch.tell_to_stop(session, device.id, forgotten)


def on_offline(session: Session, device: DeviceRow, now: datetime) -> None:
    """Stop the timers of a device that has gone: it can do nothing about them."""
    for row in _open_of(session, device.id):
        dispatch.rest(row, device, now)


def on_state_change(session: Session, device: DeviceRow, now: datetime) -> None:
    """Follow a device's state: a retired one does nothing any more, a suspended one's work waits."""
    for row in _open_of(session, device.id):
        if device.state == DeviceState.RETIRED:
            finish(session, row, ExecutionState.CANCELED, code="device.retired", now=now)
        else:
            dispatch.rest(row, device, now)


def tick(session: Session, now: datetime, *, limit: int = 500) -> int:
    """Do what time asks for, at most `limit` executions; gives how many were due."""
    due = session.execute(
        select(ExecutionRow, DeviceRow)
        .join(DeviceRow, DeviceRow.id == ExecutionRow.device_id)
        .where(ExecutionRow.state.in_(_OPEN), ExecutionRow.deadline_at <= now)
        .order_by(ExecutionRow.deadline_at, ExecutionRow.id)
        .limit(limit)
    ).all()
    for row, device in due:
        _do_due(session, row, device, now)
    return len(due)


def _do_due(session: Session, row: ExecutionRow, device: DeviceRow, now: datetime) -> None:
    timer = Timer(
        state=ExecutionState(row.state),
        can_act=dispatch.can_act(device),
        deadline_at=row.deadline_at,
        expires_at=row.expires_at,
    )
    step = next_step(timer, now)
    if step is Step.SEND:
        _send(session, row, device, now)
    elif step is Step.RETRY:
        message = f"No answer in {row.attempt} attempts."
        _fail(session, row, ErrorClass.SILENCE, ExecutionState.TIMED_OUT, "execution.timed_out", message, now)
    elif step is Step.EXPIRE:
        waited = str(row.waiting_for.get("code") or row.state).replace("_", " ")
        message = f"Not done in its time; it waited for: {waited}."
        dispatch.tell_to_stop(session, row.device_id, row.id)
        finish(session, row, ExecutionState.TIMED_OUT, now=now, code="execution.expired", message=message)
    elif not is_end(timer.state) and not timer.can_act:
        dispatch.rest(row, device, now)  # its moment came while the device was away
    # What is left was due when this tick began, and was sent or ended by what came before it.


def _send(session: Session, row: ExecutionRow, device: DeviceRow, now: datetime) -> None:
    """Send a queued execution if it is due and its device can take it; otherwise it says what it waits for."""
    dispatch.fill(session, device, now)
    if row.state == ExecutionState.QUEUED:
        dispatch.rest(row, device, now)


def _fail(
    session: Session,
    row: ExecutionRow,
    error_class: ErrorClass,
    end: ExecutionState,
    code: str,
    message: str,
    now: datetime,
) -> None:
    """Try an execution again later, or end it."""
    again_at = retry_at(row.id, error_class, max(row.attempt, 1), row.max_attempts, now)
    if again_at is None:
        finish(session, row, end, code=code, message=message, now=now)
        return
    dispatch.enter(row, ExecutionState.QUEUED, now)
    row.code, row.message, row.not_before = code, message, again_at
    dispatch.rest(row, session.get_one(DeviceRow, row.device_id), now)
    if row.kind in LIMITS:
        dispatch.fill(session, session.get_one(DeviceRow, row.device_id), now)  # its place is free meanwhile


def _open_of(session: Session, device_id: str) -> list[ExecutionRow]:
    query = select(ExecutionRow).where(ExecutionRow.device_id == device_id, ExecutionRow.state.in_(_OPEN))
    return list(session.scalars(query.order_by(ExecutionRow.id)))
