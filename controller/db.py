"""The database: engine, base of the tables, transaction scope. The only `commit()` of the controller stands here.

Synchronous on purpose (worker threads; asyncio loops never touch it). SQLite runs in WAL with `synchronous=FULL`, and
write transactions begin IMMEDIATE so that two writers queue instead of failing half-way.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uuid_utils
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Dialect,
    Engine,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Session, SessionTransaction, sessionmaker

_NAMING: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_PATIENCE_S: Final = 30  # how long a write to SQLite waits for another one
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Json = JSON().with_variant(JSONB(), "postgresql")


def to_microseconds(at: datetime) -> int:
    """Give an aware time as the database keeps it: microseconds since 1970 UTC.

    Raises:
        ValueError: It is naive.
    """
    if at.tzinfo is None:
        raise ValueError("a time must be aware")
    delta = at - _UNIX_EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_microseconds(count: int) -> datetime:
    """Give the aware time that is kept as microseconds since 1970 UTC."""
    seconds, microseconds = divmod(count, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time, kept as microseconds since 1970, the same on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Python to database; refuses naive times."""
        if value is None:
            return None
        return to_microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Database to Python."""
        return None if value is None else from_microseconds(value)


class Base(DeclarativeBase):
    """Base of every row."""

    metadata = MetaData(naming_convention=_NAMING)
    # Integers have 64 bits everywhere: sizes pass 2 GiB, and sessions come from devices.
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        dict[str, Any]: Json,
        list[Any]: Json,
        datetime: UtcTime,
        int: BigInteger,
    }


def new_id() -> str:
    """Give a UUIDv7: unique, and ordered by time, so that pages and indexes follow it."""
    return str(uuid_utils.uuid7())


def utc_now() -> datetime:
    """Give the controller's clock."""
    return datetime.now(UTC)


class Database:
    """An engine and its transaction scopes."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url = parsed
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(parsed, connect_args={"check_same_thread": False, "timeout": _PATIENCE_S})
        else:
            self.engine = create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=10)
        self._turn = threading.Lock()
        self.sessions = sessionmaker(self.engine, expire_on_commit=False)
        if self.is_sqlite:
            _prepare_sqlite(self.engine, self.sessions)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open one transaction; commit at the end, roll back on any error."""
        with self._in_turn(), self.sessions() as session:
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let one write of this process at a time to SQLite, which has the others poll the file.

        With a lock that any thread may give back: a request's transaction ends in another thread than it began in when
        the door has its threads at work. Who has waited too long polls the file after all, and is refused by SQLite.
        """
        has_turn = self.is_sqlite and self._turn.acquire(timeout=_PATIENCE_S)
        try:
            yield
        finally:
            if has_turn:
                self._turn.release()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads."""
        with self.sessions(info={"read_only": True}) as session:
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _prepare_sqlite(engine: Engine, sessions: sessionmaker[Session]) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below, not the driver's
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(sessions, "after_begin")
    def _session_began(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        if not transaction.nested:  # a savepoint begins inside
            read_only = session.info.get("read_only", False)
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
