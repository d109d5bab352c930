"""`/v1/devices`, `/v1/receipts`: the registry as operators see it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, PartsOf, Reader, Reading, Writing
from controller.api.pagination import Wanted, follow_on, page
from controller.devices import changes, export, groups, selectors, service
from controller.devices.tables import DesiredRow, DeviceRow, ReceiptRow
from controller.events import EventRow
from controller.telemetry import service as telemetry
from shoal.schemas.common import Page
from shoal.schemas.devices import Device, DeviceChange, Difference, Event, Receipt, Slot
from shoal.wire import signing

router = APIRouter(tags=["devices"])
Chosen = Annotated[str, Query(max_length=16_384, description='Which devices, such as `labels.site == "lyon"`.')]


@router.get("/devices")
def list_devices(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    q: Annotated[str, Query(max_length=128, description="Part of an id or a host name.")] = "",
    selector: Chosen = "all",
) -> Page[Device]:
    """List the devices that a selector means by id, in whatever state they are."""
    meant = selectors.accept(session, selector)
    rows, total = selectors.read_page(session, meant, search=q, after=window.after, limit=window.limit + 1)
    found = follow_on(rows, window, lambda row: row.id)
    return Page(items=_devices(session, found.items), next_cursor=found.next_cursor, total=total)


@router.get("/devices/export", response_class=StreamingResponse)
def export_devices(
    _caller: Reader,
    session: Reading,
    parts: PartsOf,
    format: Annotated[Literal["csv", "json"], Query()],
    selector: Chosen = "all",
) -> StreamingResponse:
    """Give all devices that a selector means as one file: CSV, or a JSON array."""
    meant = selectors.accept(session, selector)
    is_csv = format == "csv"
    content = export.csv_of(parts.database, meant) if is_csv else export.json_of(parts.database, meant)
    headers = {"Content-Disposition": f'attachment; filename="devices.{format}"'}
    media_type = "text/csv; charset=utf-8" if is_csv else "application/json"
    return StreamingResponse(content, headers=headers, media_type=media_type)


@router.get("/devices/{device_id}")
def show_device(device_id: str, _caller: Reader, session: Reading) -> Device:
    """Show a device: facts, labels, slots, groups, and how far it follows its desired document."""
    return shown(session, service.get(session, device_id))


@router.patch("/devices/{device_id}")
def change_device(device_id: str, body: DeviceChange, caller: Changer, session: Writing) -> Device:
    """Replace a device's labels."""
    row = service.set_labels(session, device_id, body.labels)
    audit.note(session, actor=caller.name, action="device.change", subject=device_id, data={"labels": body.labels})
    return shown(session, row)


@router.get("/devices/{device_id}/receipts")
def list_device_receipts(device_id: str, _caller: Reader, session: Reading, window: Wanted) -> Page[Receipt]:
    """List a device's receipts, newest first."""
    service.get(session, device_id)
    query = select(ReceiptRow).where(ReceiptRow.device_id == device_id)
    return page(session, query, ReceiptRow.id, window, Receipt.model_validate)


@router.get("/devices/{device_id}/events")
def list_device_events(
    device_id: str,
    _caller: Reader,
    session: Reading,
    window: Wanted,
    name: Annotated[str, Query(max_length=64, description="The beginning of the events' names: `alert.`")] = "",
) -> Page[Event]:
    """List what happened to a device, newest first."""
    service.get(session, device_id)
    query = select(EventRow).where(EventRow.device_id == device_id)
    if name:
        query = query.where(EventRow.name.startswith(name, autoescape=True))
    return page(session, query, EventRow.id, window, Event.model_validate)


@router.get("/devices/{device_id}/difference")
def list_differences(device_id: str, _caller: Reader, session: Reading) -> Page[Difference]:
    """List in what a device is not what it shall be, and why."""
    row = service.get(session, device_id)
    return Page(items=[Difference.model_validate(one) for one in service.differences_of(session, row)])


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


def shown(session: Session, row: DeviceRow) -> Device:
    """Give a device as the API shows it, its groups as they are after what this transaction changed."""
    changes.settle(session)
    return _devices(session, [row])[0]


def _devices(session: Session, rows: Sequence[DeviceRow]) -> list[Device]:
    held = select(DesiredRow.device_id, DesiredRow.epoch, DesiredRow.version)
    desired = {
        device_id: (epoch, version)
        for device_id, epoch, version in session.execute(held.where(DesiredRow.device_id.in_(row.id for row in rows)))
    }
    names = groups.names_of(session, [row.number for row in rows])
    heard = telemetry.received_at(session, [row.number for row in rows])
    return [_device(row, desired[row.id], names.get(row.number, []), heard.get(row.number)) for row in rows]


def _device(row: DeviceRow, desired: tuple[int, int], names: list[str], heard_at: datetime | None) -> Device:
    seen = [at for at in (row.last_seen_at, heard_at) if at is not None]  # telemetry writes no row of devices
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
        flapping=row.flapping,
        labels=row.labels,
        groups=names,
        facts=row.facts,
        slots=[Slot.model_validate(slot) for slot in reported.get("slots", [])],
        desired=desired,
        reported=(reported.get("epoch", 0), reported.get("version", 0)),
        agent_version=row.agent_version,
        online_since=row.online_since,
        last_seen_at=max(seen, default=None),
        enrolled_at=row.enrolled_at,
        certificate_expires_at=row.certificate_expires_at,
    )
