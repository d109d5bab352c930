"""`/v1/fleet`: the whole fleet in counts, and as a map of its health."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from sqlalchemy import ColumnElement, Select, String, case, func, literal, select, type_coerce
from sqlalchemy.orm import Session

from controller.api.deps import Reader, Reading
from controller.db import utc_now
from controller.devices.lifecycle import DeviceState
from controller.devices.selector_fields import FIELDS, LABELS
from controller.devices.selector_language import print_path
from controller.devices.tables import DeviceRow, DeviceTextRow, ReceiptRow
from controller.executions.tables import ExecutionRow
from controller.observe import RefusalRow
from controller.telemetry.alerts import State
from controller.telemetry.tables import AlertRow
from shoal.schemas.devices import FleetMap, FleetSummary, Health

router = APIRouter(tags=["devices"])
_CELLS: Final = 200
_LABELS: Final = 100


@router.get("/fleet")
def show_fleet(_caller: Reader, session: Reading) -> FleetSummary:
    """Count the fleet: states, versions served by the latest receipts, executions of the last day, refusals."""
    states = _counts(session, select(DeviceRow.state, func.count()).group_by(DeviceRow.state))
    day_ago = utc_now() - timedelta(days=1)
    executions = _counts(
        session,
        select(ExecutionRow.state, func.count()).where(ExecutionRow.updated_at >= day_ago).group_by(ExecutionRow.state),
    )
    online = session.scalar(select(func.count()).where(DeviceRow.online.is_(True))) or 0
    refusals = session.scalar(select(func.sum(RefusalRow.count))) or 0
    return FleetSummary(
        total=sum(states.values()),
        online=online,
        states=states,
        versions=_served(session),
        executions=executions,
        refusals=int(refusals),
    )


@router.get("/fleet/map")
def show_fleet_map(
    _caller: Reader, session: Reading, label: Annotated[str | None, Query(min_length=1, max_length=64)] = None
) -> FleetMap:
    """Show the health of active and suspended devices by the values of a label; without one, of all together."""
    counts = [func.count(), *(func.sum(case((holds, 1), else_=0)) for holds in _health().values())]
    is_meant = DeviceRow.state.in_([DeviceState.ACTIVE, DeviceState.SUSPENDED])
    value: ColumnElement[str | None] = literal(None)
    query = select(value, *counts).select_from(DeviceRow)
    if label:
        value = type_coerce(DeviceTextRow.value, String)
        is_labelled = (DeviceTextRow.device == DeviceRow.number) & (
            DeviceTextRow.path == print_path(FIELDS[LABELS], label)
        )
        query = select(value, *counts).select_from(DeviceRow).outerjoin(DeviceTextRow, is_labelled).group_by(value)
    cells = [
        Health(value=of, total=total, **dict(zip(_health(), shares, strict=True)))
        for of, total, *shares in session.execute(query.where(is_meant).order_by(func.count().desc(), value))
        if total
    ]
    return FleetMap(label=label, labels=_labels(session), cells=cells[:_CELLS], hidden=max(0, len(cells) - _CELLS))


def _health() -> dict[str, ColumnElement[bool]]:
    """Give what makes a device be counted where; each is counted once."""
    is_active = DeviceRow.state == DeviceState.ACTIVE
    is_steady = is_active & DeviceRow.flapping.is_(False)
    alerts = DeviceRow.number.in_(select(AlertRow.device).where(AlertRow.state == State.FIRING))
    return {
        "healthy": is_steady & DeviceRow.online.is_(True) & ~alerts,
        "alerting": is_steady & DeviceRow.online.is_(True) & alerts,
        "flapping": is_active & DeviceRow.flapping.is_(True),
        "offline": is_steady & DeviceRow.online.is_(False),
        "suspended": DeviceRow.state == DeviceState.SUSPENDED,
    }


def _labels(session: Session) -> list[str]:
    """Give the names of labels that devices have, the most frequent first."""
    name = DeviceTextRow.value
    ranked = select(name, func.count()).where(DeviceTextRow.path == LABELS).group_by(name)
    found = session.execute(ranked.order_by(func.count().desc(), name).limit(_LABELS))
    return [label for label, _ in found]


def _served(session: Session) -> dict[str, int]:
    query = (
        select(ReceiptRow.model, ReceiptRow.version, func.count())
        .where(ReceiptRow.is_latest.is_(True))
        .group_by(ReceiptRow.model, ReceiptRow.version)
        .order_by(ReceiptRow.model, ReceiptRow.version)
    )
    return {f"{model}/{version}": int(count) for model, version, count in session.execute(query)}


def _counts(session: Session, query: Select[str, int]) -> dict[str, int]:
    return {name: int(count) for name, count in session.execute(query)}
