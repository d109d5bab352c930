"""`/v1/telemetry`: charts; `/v1/devices/{id}/telemetry`: the newest figures. Unsigned: nothing is decided on them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime

from controller.api.deps import PartsOf, Reader, Reading
from controller.db import utc_now
from controller.telemetry import service
from shoal.schemas.common import Page
from shoal.schemas.telemetry import Kind, Latest, Series

router = APIRouter(tags=["telemetry"])
_BEGIN = Query(alias="from", description="Where it begins; without it: an hour before `to`.")
_END = Query(alias="to", description="Where it ends, that moment excluded; without it: now.")
_STEP = Query(ge=1, le=366 * 86_400, description="The least length of a step; without it, as few as 500 points need.")


@router.get("/devices/{device_id}/telemetry")
def show_latest(device_id: Annotated[str, Path(max_length=64)], _caller: Reader, session: Reading) -> Latest:
    """Show the newest figure of each kind of a device."""
    return Latest.model_validate(service.latest(session, device_id))


@router.get("/telemetry")
def show_series(
    _caller: Reader,
    session: Reading,
    parts: PartsOf,
    kind: Annotated[Kind, Query()],
    device: Annotated[str | None, Query(max_length=64)] = None,
    selector: Annotated[str | None, Query(max_length=16_384)] = None,
    begin: Annotated[AwareDatetime | None, _BEGIN] = None,
    end: Annotated[AwareDatetime | None, _END] = None,
    step_s: Annotated[float | None, _STEP] = None,
) -> Series:
    """Give one kind over time, of a device or of all devices that a selector means, in at most 500 points."""
    wanted = service.Wanted(kind=kind, device=device, selector=selector, begin=begin, end=end, step_s=step_s)
    return Series.model_validate(service.series(session, wanted, parts.settings, utc_now()))


@router.get("/telemetry/kinds")
def list_kinds(
    _caller: Reader, session: Reading, device: Annotated[str | None, Query(max_length=64)] = None
) -> Page[str]:
    """List the kinds that a device sends; without one, those of a sample of the fleet."""
    found = service.kinds(session, device)
    return Page(items=found, total=len(found))
