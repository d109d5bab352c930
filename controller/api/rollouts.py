"""`/v1/rollouts`: move devices to a version, a wave at a time."""

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import audit
from controller.api.deps import Changer, Reader, Reading, Writing
from controller.api.pagination import Wanted, page
from controller.db import utc_now
from controller.errors import NotFound
from controller.rollouts import service as rollouts
from controller.rollouts.tables import RolloutRow
from shoal.schemas.common import Page
from shoal.schemas.rollouts import Rollout, RolloutRequest, RolloutTarget

router = APIRouter(prefix="/rollouts", tags=["rollouts"])


@router.post("", status_code=201)
def create_rollout(body: RolloutRequest, caller: Changer, session: Writing) -> Rollout:
    """Start a rollout; each selected device gets the variant that fits it."""
    row = rollouts.create(session, body, caller.name)
    audit.note(session, actor=caller.name, action="rollout.create", subject=row.id)
    return _rollout(session, row)


@router.get("")
def list_rollouts(_caller: Reader, session: Reading, window: Wanted) -> Page[Rollout]:
    """List rollouts, newest first."""
    return page(session, select(RolloutRow), RolloutRow.id, window, lambda row: _rollout(session, row))


@router.get("/{rollout_id}")
def show_rollout(rollout_id: str, _caller: Reader, session: Reading) -> Rollout:
    """Show a rollout and its waves."""
    return _rollout(session, _row(session, rollout_id))


@router.get("/{rollout_id}/targets")
def list_targets(rollout_id: str, _caller: Reader, session: Reading) -> Page[RolloutTarget]:
    """List the devices of a rollout with their variant and how far each is."""
    targets = rollouts.targets(session, _row(session, rollout_id))
    return Page(items=targets, total=len(targets))


@router.post("/{rollout_id}/cancel")
def cancel_rollout(rollout_id: str, caller: Changer, session: Writing) -> Rollout:
    """Stop a rollout; devices that moved stay where they are."""
    row = _row(session, rollout_id)
    rollouts.cancel(session, row, utc_now())
    audit.note(session, actor=caller.name, action="rollout.cancel", subject=rollout_id)
    return _rollout(session, row)


def _row(session: Session, rollout_id: str) -> RolloutRow:
    row = session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFound("rollout.not_found", "There is no such rollout.")
    return row


def _rollout(session: Session, row: RolloutRow) -> Rollout:
    return rollouts.summary(session, row)
