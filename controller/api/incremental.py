"""`/v1/incremental-policies`, `/v1/incremental-updates`: devices learn alone."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing, room
from controller.api.pagination import Wanted, page
from controller.artifacts import service as artifacts
from controller.incremental.tables import IncrementalUpdateRow, PolicyRow
from shoal.schemas.common import Page
from shoal.schemas.incremental import IncrementalUpdate, Policy, PolicyRequest

router = APIRouter(tags=["incremental"])


@router.post("/incremental-policies", status_code=201)
def create_policy(body: PolicyRequest, caller: Changer, session: Writing) -> Policy:
    """Make the selected devices watch a model for drift and learn when they notice it."""
    policy = Policy.model_validate(room("incremental").create_policy(session, body, caller.name))
    audit.note(session, actor=caller.name, action="incremental_policy.create", subject=policy.id)
    return policy


@router.get("/incremental-policies")
def list_policies(_caller: Reader, session: Reading, window: Wanted) -> Page[Policy]:
    """List learning policies, newest first."""
    return page(session, select(PolicyRow), PolicyRow.id, window, Policy.model_validate)


@router.get("/incremental-updates")
def list_updates(
    _caller: Reader,
    session: Reading,
    window: Wanted,
    device_id: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[IncrementalUpdate]:
    """List what devices learned alone, newest first."""
    query = select(IncrementalUpdateRow)
    if device_id is not None:
        query = query.where(IncrementalUpdateRow.device_id == device_id)
    return page(session, query, IncrementalUpdateRow.id, window, lambda row: _update(session, row))


def _update(session: Session, row: IncrementalUpdateRow) -> IncrementalUpdate:
    base = artifacts.version_by_id(session, row.base_version_id)
    result = None if row.result_version_id is None else artifacts.version_by_id(session, row.result_version_id)
    plain: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("id", "policy_id", "device_id", "state", "execution_id", "evidence", "result", "message")
    }
    return IncrementalUpdate(
        **plain,
        model=base.model,
        base_version=base.number,
        result_version=None if result is None else result.number,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
