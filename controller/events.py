"""Facts in the past tense, the outbox of what goes to devices, and the wake-up of who waits for either.

Rows are written in the caller's transaction: what happened and what is said about it commit together or not at all.
The gateway drains the outbox (it alone signs and publishes); a row goes when the broker has acknowledged it, so a
crash repeats a message rather than losing it.
"""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Index, delete, event, func, insert, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from controller.db import Base, Database, new_id, utc_now

SESSION_BEGUN: Final = "gateway.session_begun"  # the broker kept nothing for the gateway: messages may be missing
_WAKES: Final = "wakes"  # of a session: its commit wakes who waits


class EventRow(Base):
    """Something that happened, e.g. `device.enrolled`, `execution.finished`, `receipt.accepted`."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_device_id_id", "device_id", "id"), Index("ix_events_name_id", "name", "id"))
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    subject: Mapped[str]
    device_id: Mapped[str | None]
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class OutboxRow(Base):
    """A message on its way to the broker; signed when published, not before."""

    __tablename__ = "outbox"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    topic: Mapped[str]
    kind: Mapped[str]
    body: Mapped[str]
    retain: Mapped[bool]
    created_at: Mapped[datetime]


def record(
    session: Session, name: str, *, subject: str, device_id: str | None = None, data: dict[str, Any] | None = None
) -> None:
    """Write down that something happened, in the past tense, and wake whoever waits at the commit."""
    session.add(EventRow(name=name, subject=subject, device_id=device_id, data=data or {}, at=utc_now()))


def record_many(session: Session, name: str, happened: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """Write down that one thing happened to many devices: subject, device id and data of each."""
    now = utc_now()
    rows = [
        {"id": new_id(), "name": name, "subject": subject, "device_id": device_id, "data": data, "at": now}
        for subject, device_id, data in happened
    ]
    session.execute(insert(EventRow), rows)
    session.info[_WAKES] = True


def latest(session: Session, name: str) -> str:
    """Give the id of the newest event of a name, empty if it never happened."""
    return session.scalar(select(func.max(EventRow.id)).where(EventRow.name == name)) or ""


def prune(session: Session, before: datetime, *, limit: int = 1000) -> None:
    """Forget what happened before a time, the oldest first, at most `limit` events; what agents follow stays."""
    milliseconds = f"{int(before.timestamp() * 1000):012x}"  # an id begins with its time
    oldest = (
        select(EventRow.id)
        .where(EventRow.id < f"{milliseconds[:8]}-{milliseconds[8:]}", EventRow.name != SESSION_BEGUN)
        .order_by(EventRow.id)
        .limit(limit)
    )
    session.execute(delete(EventRow).where(EventRow.id.in_(oldest)))


def publish(session: Session, *, topic: str, kind: str, body: str, retain: bool = False) -> None:
    """Queue a message for a device; an empty `kind` with `retain` clears a retained one."""
    session.add(OutboxRow(topic=topic, kind=kind, body=body, retain=retain, created_at=utc_now()))


class WakeUp:
    """Wakes those who wait as soon as a transaction that wrote an event or an outbox row is committed.

    In one process by a condition variable; across processes by PostgreSQL's LISTEN/NOTIFY (SQLite lives in one
    process). Waking is a hint: waiters also look once a tick, so a lost one costs a second, never work.
    """

    def __init__(self, database: Database) -> None:
        self._condition = threading.Condition()
        self._generation = 0
        self._closed = threading.Event()
        _notify_on_commit(database, self)
        if not database.is_sqlite:
            threading.Thread(target=self._listen, args=(database.url,), name="wake-up", daemon=True).start()

    def notify(self) -> None:
        """Wake all who wait."""
        with self._condition:
            self._generation += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout_s: float) -> int:
        """Wait for a generation after `seen`, at most `timeout_s`; gives the present one."""
        with self._condition:
            self._condition.wait_for(lambda: self._generation != seen, timeout_s)
            return self._generation

    def close(self) -> None:
        """Let the listening thread end."""
        self._closed.set()

    def _listen(self, url: Any) -> None:
        import psycopg  # only where PostgreSQL is used
        from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

        dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        for attempt in Retrying(
            retry=retry_if_exception_type(psycopg.Error), wait=wait_random_exponential(max=10), reraise=True
        ):
            with attempt, psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("LISTEN shoal")
                while not self._closed.is_set():
                    for _ in connection.notifies(timeout=1.0, stop_after=1):
                        self.notify()


def _notify_on_commit(database: Database, wake_up: WakeUp) -> None:
    @event.listens_for(database.sessions, "after_flush")
    def _flushed(session: Session, _context: Any) -> None:
        if any(isinstance(row, EventRow | OutboxRow) for row in session.new):
            session.info[_WAKES] = True

    @event.listens_for(database.sessions, "before_commit")
    def _committing(session: Session) -> None:
        session.flush()
        if session.info.get(_WAKES) and not database.is_sqlite and not session.in_nested_transaction():
            session.execute(text("NOTIFY shoal"))

    @event.listens_for(database.sessions, "after_commit")
    def _committed(session: Session) -> None:
        if not session.in_nested_transaction() and session.info.pop(_WAKES, False):
            wake_up.notify()
