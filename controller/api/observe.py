"""`/v1/health`, `/v1/metrics`, `/v1/refusals`, `/v1/events`, `/v1/audit`: the controller about itself."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import select, text

from controller.api.deps import Reader, Reading
from controller.api.pagination import Wanted, page
from controller.audit import AuditRow
from controller.events import EventRow
from controller.observe import RefusalRow
from shoal.schemas.common import Page
from shoal.schemas.devices import Event, Refusal

router = APIRouter(tags=["observe"])


@router.get("/health")
def show_health(session: Reading) -> dict[str, str]:
    """Tell whether this process and its database answer; needs no login."""
    session.execute(text("SELECT 1"))
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
def show_metrics(_caller: Reader) -> Response:
    """Give the process's metrics in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/refusals")
def list_refusals(_caller: Reader, session: Reading, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Page[Refusal]:
    """List which devices were refused and why, latest first; there is one row a device and reason."""
    rows = session.scalars(select(RefusalRow).order_by(RefusalRow.last_at.desc()).limit(limit))
    return Page(items=[Refusal.model_validate(row) for row in rows])


@router.get("/events")
def list_events(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    name: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[Event]:
    """List what happened, newest first."""
    query = select(EventRow)
    if name is not None:
        query = query.where(EventRow.name == name)
    return page(session, query, EventRow.id, window, Event.model_validate)


@router.get("/audit")
def list_audit(_caller: Reader, session: Reading, window: Wanted) -> Page[dict[str, Any]]:
    """List who changed what, newest first."""
    return page(session, select(AuditRow), AuditRow.id, window, _entry)


def _entry(row: AuditRow) -> dict[str, Any]:
    names = ("id", "actor", "action", "subject", "data")
    return {**{name: getattr(row, name) for name in names}, "at": row.at.isoformat()}
