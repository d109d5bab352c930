"""Sends executions to their devices, and says of each that is not sent what it waits for.

Invariants: a device has at most as many open executions of a kind as `lanes` allows; every open execution has a
`deadline_at`, so that it is looked at again, and either a reason in `waiting_for` or a device at work on it.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from controller import events
from controller.devices import service as devices
from controller.devices.lifecycle import Act, DeviceState, may
from controller.devices.tables import DeviceRow
from controller.executions.lanes import LIMITS, room
from controller.executions.states import ExecutionState, move
from controller.executions.tables import ExecutionRow
from shoal.wire import topics
from shoal.wire.executions import Cancel, ExecutionKind, Offer


def can_act(device: DeviceRow) -> bool:
    """Tell whether a device can be given work now."""
    return device.online and may(DeviceState(device.state), Act.CONNECT)


def fill(session: Session, device: DeviceRow, now: datetime) -> None:
    """Send what a device can take now: of each kind the higher priority first, then the older."""
    if not can_act(device):
        return
    mine = ExecutionRow.device_id == device.id
    is_due = (ExecutionRow.state == ExecutionState.QUEUED) & or_(
        ExecutionRow.not_before.is_(None), ExecutionRow.not_before <= now
    )
    is_busy = ExecutionRow.state.in_([ExecutionState.SENT, ExecutionState.IN_PROGRESS])
    counts = session.execute(
        select(ExecutionRow.kind, ExecutionRow.state, func.count())
        .where(mine, or_(is_due, is_busy))
        .group_by(ExecutionRow.kind, ExecutionRow.state)
    )
    due: Counter[str] = Counter()
    busy: Counter[str] = Counter()
    for kind, state, count in counts:
        (due if state == ExecutionState.QUEUED else busy)[kind] += int(count)
    for kind in due:
        query = select(ExecutionRow).where(mine, is_due, ExecutionRow.kind == kind)
        query = query.order_by(ExecutionRow.priority.desc(), ExecutionRow.id)
        for row in session.scalars(query.limit(room(ExecutionKind(kind), busy[kind]))).all():
            row.attempt += 1
            offer(session, row, device, now)


def offer(session: Session, row: ExecutionRow, device: DeviceRow, now: datetime) -> None:
    """Send an execution's present attempt; sending it again is safe, as the device answers from its journal."""
    if row.state == ExecutionState.QUEUED:
        enter(row, ExecutionState.SENT, now)
    row.not_before = None
    row.deadline_at = min(now + timedelta(seconds=row.sent_timeout_s), row.expires_at)
    _wait_for(row, now, "device_answer")
    if row.kind != ExecutionKind.ROLLOUT_STEP:
        device.offer_number += 1
        message = Offer(
            execution_id=row.id,
            type=row.kind,
            attempt=row.attempt,
            epoch=devices.desired_of(session, device.id).epoch,
            number=device.offer_number,
            timeout_s=row.progress_timeout_s,
            spec=msgspec.Raw(msgspec.json.encode(row.spec)),
        )
        _publish(session, row.device_id, "offer", message)
    elif row.attempt > 1:
        devices.set_attempt(session, row.device_id, row.id, row.attempt)


def rest(row: ExecutionRow, device: DeviceRow, now: datetime) -> None:
    """Let an open execution wait, and say for what."""
    row.deadline_at = row.expires_at
    if device.state == DeviceState.SUSPENDED:
        _wait_for(row, now, "device_suspended", reason=device.state_reason)
    elif not device.online:
        _wait_for(row, device.last_seen_at or now, "device_offline")
    elif row.not_before is not None and row.not_before > now:
        row.deadline_at = min(row.not_before, row.expires_at)
        _wait_for(row, now, "retry_at", at=row.not_before.isoformat(), cause=row.code)
    else:
        limit = LIMITS.get(ExecutionKind(row.kind), 0)
        _wait_for(row, now, "device_busy", kind=row.kind, limit=limit)


def tell_to_stop(session: Session, device_id: str, execution_id: str) -> None:
    """Tell a device to stop an execution and forget it."""
    _publish(session, device_id, "cancel", Cancel(execution_id=execution_id))


def enter(row: ExecutionRow, state: ExecutionState, now: datetime) -> None:
    """Move an execution to another state, in which it waits for nothing yet.

    Raises:
        Conflict: `execution.illegal_transition`.
    """
    row.state = move(ExecutionState(row.state), state)
    row.updated_at = now
    row.waiting_for = {}


def _wait_for(row: ExecutionRow, since: datetime, code: str, **facts: Any) -> None:
    known = row.waiting_for if row.waiting_for.get("code") == code else {}
    wanted = {"code": code, "since": known.get("since") or since.isoformat(), **facts}
    if wanted != row.waiting_for:
        row.waiting_for = wanted


def _publish(session: Session, device_id: str, kind: str, message: Offer | Cancel) -> None:
    body = msgspec.json.encode(message).decode()
    events.publish(session, topic=topics.down(device_id, "execution"), kind=kind, body=body)
