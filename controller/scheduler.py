"""What time and committed facts ask for: wakes on events, and once a tick for timers and what a crash left.

One scheduler leads at a time, by a lease in the database. Each room is advanced in transactions of its own, so that one
that fails does not hold up the others.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from controller import events
from controller.blobs import BlobStore
from controller.collection import collect
from controller.compression import inspection
from controller.compression.policies import Builder
from controller.db import Base, Database, new_id, utc_now
from controller.devices import sessions
from controller.devices.enrollment import FIRST_EPOCH
from controller.events import WakeUp
from controller.executions import service as executions
from controller.federated import service as federated
from controller.federated import updates
from controller.incremental import service as incremental
from controller.observe import FAILURES
from controller.rollouts import service as rollouts
from controller.settings import Settings
from controller.telemetry import fold, rules, watching
from controller.telemetry import service as telemetry
from controller.webhooks import service as webhooks
from shoal.wire import topics
from shoal.wire.devices import ControllerState

_log: Final = logging.getLogger(__name__)
_LEASE: Final = timedelta(seconds=10)
_STATE_INTERVAL: Final = timedelta(minutes=1)
_SWEEP_INTERVAL: Final = timedelta(seconds=15)
_COLLECT_INTERVAL: Final = timedelta(hours=1)
_FOLDS: Final = 8  # transactions of telemetry in one tick, so that the other rooms have their turn

Advance = Callable[[Session, datetime], object]


class LeaseRow(Base):
    """Who leads until when."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    expires_at: Mapped[datetime]


class Scheduler:
    """Advances every room."""

    def __init__(self, *, settings: Settings, database: Database, blobs: BlobStore, wake_up: WakeUp) -> None:
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._wake_up = wake_up
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{new_id()}"
        self.leading = threading.Event()  # set while this one leads: what runs beside it, such as jobs, looks here
        self._lead_again_at = datetime.min.replace(tzinfo=UTC)  # until then the lease is surely ours
        self._incarnation = ""
        self._state_told_at: datetime | None = None
        self._sweep_at = datetime.min.replace(tzinfo=UTC)
        self._collect_at = datetime.min.replace(tzinfo=UTC)
        self._steps: Sequence[tuple[str, Callable[[], None]]] = (
            ("presence", partial(self._advance, sessions.settle)),
            ("executions", partial(self._advance, executions.tick)),
            ("inspections", partial(self._advance, lambda session, _: inspection.settle(session))),
            ("rollouts", partial(self._advance, rollouts.advance)),
            ("federated", self._advance_federated),
            ("incremental", partial(self._advance, incremental.advance)),
            ("builds", Builder(database).advance),
            ("telemetry", self._fold_telemetry),
            ("alerts", partial(self._advance, self._watch)),
            ("events", partial(self._advance, self._prune)),
            ("artifacts", self._collect),
            ("controller_state", partial(self._advance, self._tell_state)),
        )

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then let another lead at once."""
        seen = 0
        while not stop.is_set():
            try:
                if self._lead():
                    self.leading.set()
                    self._advance_all()
                else:
                    self.leading.clear()
            except Exception:  # the loop's edge: a failed tick is followed by the next
                _log.exception("a tick failed")
                FAILURES.labels(loop="scheduler").inc()
            seen = self._wake_up.wait(seen, self._settings.tick_interval_s)
        self._resign()

    def _advance_all(self) -> None:
        for name, step in self._steps:
            try:
                step()
            except Exception:  # the edge between rooms: one that fails must not stop the others
                _log.exception("%s could not be advanced", name)
                FAILURES.labels(loop=name).inc()

    def _advance(self, advance: Advance) -> None:
        with self._database.transaction() as session:
            advance(session, utc_now())

    def _advance_federated(self) -> None:
        # Updates may be large: no transaction is open while they are summed up.
        with self._database.reading() as session:
            closing = federated.find_closing(session, utc_now())
        summed = [updates.sum_up(self._blobs, one) for one in closing]
        self._advance(lambda session, now: federated.advance(session, summed, now))

    def _lead(self) -> bool:
        now = utc_now()
        if now < self._lead_again_at:
            return True
        try:
            with self._database.transaction() as session:
                row = session.get(LeaseRow, "scheduler", with_for_update=True)
                if row is None:
                    session.add(LeaseRow(name="scheduler", holder=self._holder, expires_at=now + _LEASE))
                elif row.holder == self._holder or row.expires_at < now:
                    row.holder, row.expires_at = self._holder, now + _LEASE
                else:
                    return False
        except IntegrityError:
            return False  # another one made the row in the same moment
        self._lead_again_at = now + _LEASE / 2
        return True

    def _resign(self) -> None:
        with self._database.transaction() as session:
            row = session.scalar(select(LeaseRow).where(LeaseRow.holder == self._holder))
            if row is not None:
                session.delete(row)

    def _fold_telemetry(self) -> None:
        for _ in range(_FOLDS):
            with self._database.transaction() as session:
                if fold.fold(session, self._settings.telemetry_rollup_step_s, utc_now()) < fold.BATCH:
                    return
        self._wake_up.notify()  # there is more: the next tick comes at once

    def _watch(self, session: Session, now: datetime) -> None:
        watching.advance(session, now)
        if now >= self._sweep_at and watching.sweep(session, now):
            self._sweep_at = now + _SWEEP_INTERVAL

    def _prune(self, session: Session, now: datetime) -> None:
        events.prune(session, now - timedelta(seconds=self._settings.event_kept_s))
        telemetry.prune(session, self._settings, now)
        rules.prune(session, self._settings.alert_kept_s, now)
        webhooks.prune(session, now)

    def _collect(self) -> None:
        now = utc_now()
        if now < self._collect_at:
            return
        self._collect_at = now + _COLLECT_INTERVAL
        grace = timedelta(seconds=self._settings.artifact_grace_s)
        logs_kept = timedelta(seconds=self._settings.log_kept_s)
        collect(self._database, self._blobs, grace=grace, logs_kept=logs_kept, now=now)

    def _tell_state(self, session: Session, now: datetime) -> None:
        # An incarnation begins where messages may have been missed: devices then give birth again.
        incarnation = events.latest(session, events.SESSION_BEGUN)
        is_due = self._state_told_at is None or now - self._state_told_at >= _STATE_INTERVAL
        if not is_due and incarnation == self._incarnation:
            return
        state = ControllerState(epoch=FIRST_EPOCH, incarnation=incarnation, at=now.isoformat())
        body = msgspec.json.encode(state).decode()
        events.publish(session, topic=topics.CONTROLLER_STATE, kind="controller_state", body=body, retain=True)
        self._state_told_at, self._incarnation = now, incarnation
