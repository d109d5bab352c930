"""`/v1/devices`, `/v1/fleet`, `/v1/receipts`: the registry as operators see it."""

from collections import Counter
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.devices import service
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DesiredRow, DeviceRow, ReceiptRow
from controller.errors import Invalid, NotFound
from controller.events import EventRow
from controller.executions.tables import ExecutionRow
from controller.observe import RefusalRow
from controller.telemetry.tables import TelemetryRow
from shoal.schemas.common import Page
from shoal.schemas.devices import Device, DeviceChange, Event, FleetSummary, Receipt, Slot, Telemetry
from shoal.wire import signing

router = APIRouter(tags=["devices"])


@router.get("/fleet")
def show_fleet(_caller: Reader, session: Reading) -> FleetSummary:
    """Count the fleet: states, versions served by the latest receipts, executions of the last day, refusals."""
    states = _counts(session, select(DeviceRow.state, func.count()).group_by(DeviceRow.state))
    day_ago = utc_now() - timedelta(days=1)
    executions = _counts(
        session,
        select(ExecutionRow.state, func.count()).where(ExecutionRow.updated_at >= day_ago).group_by(ExecutionRow.state),
    )
    served = Counter(f"{row.model}/{row.version}" for row in service.latest_receipts(session))
    online = session.scalar(select(func.count()).where(DeviceRow.online.is_(True))) or 0
    refusals = session.scalar(select(func.sum(RefusalRow.count))) or 0
    return FleetSummary(
        total=sum(states.values()),
        online=online,
        states=states,
        versions=dict(sorted(served.items())),
        executions=executions,
        refusals=int(refusals),
    )


@router.get("/devices")
def list_devices(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    q: Annotated[str, Query(max_length=128)] = "",
    state: DeviceState | None = None,
    online: bool | None = None,
    label: Annotated[list[str] | None, Query(max_length=32)] = None,
) -> Page[Device]:
    """List devices by id; `q` searches ids and host names, `label` is `key:value` and may be repeated."""
    query = select(DeviceRow)
    if q:
        hostname = DeviceRow.facts["hostname"].as_string()
        query = query.where(or_(DeviceRow.id.icontains(q, autoescape=True), hostname.icontains(q, autoescape=True)))
    if state is not None:
        query = query.where(DeviceRow.state == state)
    if online is not None:
        query = query.where(DeviceRow.online.is_(online))
    for pair in label or []:
        name, colon, value = pair.partition(":")
        if not colon:
            raise Invalid("label.malformed", f"A label is key:value, not {pair[:80]}.")
        query = query.where(DeviceRow.labels[name].as_string() == value)
    found = page(session, query, DeviceRow.id, window, lambda row: row, is_newest_first=False, with_total=True)
    held = {
        row.device_id: row
        for row in session.scalars(select(DesiredRow).where(DesiredRow.device_id.in_(row.id for row in found.items)))
    }
    return Page(
        items=[shown(row, held[row.id]) for row in found.items],
        next_cursor=found.next_cursor,
        total=found.total,
    )


@router.get("/devices/{device_id}")
def showshown(device_id: str, _caller: Reader, session: Reading) -> Device:
    """Show a device: facts, labels, slots, and how far it follows its desired document."""
    return shown(service.get(session, device_id), service.desired_of(session, device_id))


@router.patch("/devices/{device_id}")
def changeshown(device_id: str, body: DeviceChange, caller: Changer, session: Writing) -> Device:
    """Replace a device's labels."""
    row = service.set_labels(session, device_id, body.labels)
    audit.note(session, actor=caller.name, action="device.change", subject=device_id, data={"labels": body.labels})
    return shown(row, service.desired_of(session, device_id))


@router.get("/devices/{device_id}/receipts")
def list_device_receipts(device_id: str, _caller: Reader, session: Reading, window: Wanted) -> Page[Receipt]:
    """List a device's receipts, newest first."""
    service.get(session, device_id)
    query = select(ReceiptRow).where(ReceiptRow.device_id == device_id)
    return page(session, query, ReceiptRow.id, window, Receipt.model_validate)


@router.get("/devices/{device_id}/events")
def list_device_events(device_id: str, _caller: Reader, session: Reading, window: Wanted) -> Page[Event]:
    """List what happened to a device, newest first."""
    service.get(session, device_id)
    query = select(EventRow).where(EventRow.device_id == device_id)
    return page(session, query, EventRow.id, window, Event.model_validate)


@router.get("/devices/{device_id}/telemetry")
def show_telemetry(device_id: str, _caller: Reader, session: Reading) -> Telemetry:
    """Show a device's latest sample."""
    service.get(session, device_id)
    row = session.get(TelemetryRow, device_id)
    if row is None:
        raise NotFound("telemetry.not_found", "This device has not sent a sample yet.")
    return Telemetry.model_validate(row)


@router.get("/receipts")
def list_receipts(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    model: Annotated[str | None, Query(max_length=64)] = None,
    version: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> Page[Receipt]:
    """List receipts, newest first."""
    query = select(ReceiptRow)
    if model is not None:
        query = query.where(ReceiptRow.model == model)
    if version is not None:
        query = query.where(ReceiptRow.version == version)
    return page(session, query, ReceiptRow.id, window, Receipt.model_validate)


def _counts(session: Session, query: Select[str, int]) -> dict[str, int]:
    return {name: int(count) for name, count in session.execute(query)}


def shown(row: DeviceRow, desired: DesiredRow) -> Device:
    """Give a device as the API shows it."""
    reported: dict[str, Any] = row.reported
    return Device(
        id=row.id,
        state=row.state,
        state_reason=row.state_reason,
        hardware_id=row.hardware_id,
        claims_device_id=row.claims_device_id,
        key_id=signing.key_id_of(row.public_key),
        enrollment_token_id=row.enrollment_token_id,
        online=row.online,
        labels=row.labels,
        facts=row.facts,
        slots=[Slot.model_validate(slot) for slot in reported.get("slots", [])],
        desired=(desired.epoch, desired.version),
        reported=(reported.get("epoch", 0), reported.get("version", 0)),
        agent_version=row.agent_version,
        online_since=row.online_since,
        last_seen_at=row.last_seen_at,
        enrolled_at=row.enrolled_at,
        certificate_expires_at=row.certificate_expires_at,
    )
