"""A run as its rows stand, for `rounds` and `selection` to decide on."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.devices import service as devices
from controller.devices.lifecycle import DeviceState
from controller.devices.tables import DeviceRow
from controller.executions.states import ExecutionState, is_end
from controller.executions.tables import ExecutionRow
from controller.federated import updates
from controller.federated.rounds import Member, OpenRound, RoundState, RunSnapshot
from controller.federated.selection import Cohort, DeviceSnapshot, choose_cohort
from controller.federated.tables import RoundRow, RunRow
from controller.federated.updates import Counted
from shoal.schemas.federated import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A run as its rows stand.

    Attributes:
        latest: The newest round; all before it are closed.
        cohort: Who could take part in the next; nobody while a round is open.
    """

    latest: RoundRow | None
    updates: tuple[Counted, ...]
    cohort: Cohort
    snapshot: RunSnapshot

    @property
    def opened(self) -> RoundRow | None:
        """The round that is open."""
        return self.latest if self.latest is not None and self.latest.state == RoundState.OPEN else None


def standing_of(session: Session, run: RunRow, *, is_locking: bool) -> Standing:
    """Read how a run stands; with `is_locking`, so that it stays so until the end of the transaction."""
    latest = session.scalar(select(RoundRow).where(RoundRow.run_id == run.id).order_by(RoundRow.number.desc()).limit(1))
    given: tuple[Counted, ...] = ()
    opened: OpenRound | None = None
    cohort = Cohort(device_ids=[], left_out={})
    if latest is None or latest.state != RoundState.OPEN:
        cohort = cohort_now(session, run)
    else:
        # First the executions, then the round: the order in which an update's acceptance locks them.
        members = _members(session, latest, is_locking=is_locking)
        if is_locking:
            session.refresh(latest, with_for_update=True)
        given = updates.counted(session, latest.id)
        opened = OpenRound(started_at=latest.started_at, members=members, updates=len(given))
    settings = TrainingSettings.model_validate(run.settings)
    snapshot = RunSnapshot(
        rounds_total=run.rounds_total,
        rounds_closed=0 if latest is None else latest.number - (opened is not None),
        round=opened,
        eligible=len(cohort.device_ids),
        idle_since=run.created_at if latest is None or latest.closed_at is None else latest.closed_at,
        round_timeout=timedelta(seconds=settings.round_timeout_s),
        min_updates=settings.min_updates,
    )
    return Standing(latest=latest, updates=given, cohort=cohort, snapshot=snapshot)


def cohort_now(session: Session, run: RunRow) -> Cohort:
    """Choose among the devices that are meant; a device that was named and is not active any more is left out."""
    named = devices.ids_named_by(run.selector)
    if named:
        meant = list(session.scalars(select(DeviceRow).where(DeviceRow.id.in_(named))))
    else:
        meant = devices.select_by(session, run.selector)
    return choose_cohort(
        [
            DeviceSnapshot(
                id=device.id,
                is_active=device.state == DeviceState.ACTIVE,
                is_online=device.online,
                can_train=bool(device.facts.get("can_train")),
            )
            for device in meant
        ]
    )


def _members(session: Session, row: RoundRow, *, is_locking: bool) -> list[Member]:
    query = (
        select(ExecutionRow, DeviceRow)
        .join(DeviceRow, DeviceRow.id == ExecutionRow.device_id)
        .where(ExecutionRow.owner_id == row.id)
        .order_by(ExecutionRow.id)
    )
    if is_locking:
        query = query.with_for_update(of=ExecutionRow)
    return [
        Member(
            has_ended=is_end(ExecutionState(execution.state)),
            offline_since=None
            if device.online and device.state == DeviceState.ACTIVE
            else device.last_seen_at or row.started_at,
        )
        for execution, device in session.execute(query)
    ]
