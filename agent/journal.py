"""What the device must not forget: what it was told, what it holds, and what it still has to say. SQLite, FULL.

A power cut at any line leaves each change whole or absent. One thread uses it (the agent's event loop): each call is a
single small transaction.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from shoal.wire.devices import Count, ShortText
from shoal.wire.rollouts import DesiredVariant, SlotState

MAX_OUTBOX: Final = 10_000  # messages; a device that is away for long keeps the newest

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS slots (
    model TEXT NOT NULL, slot TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (model, slot)
);
"""


class HeldSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as the journal knows it: `a` or `b`, one of which serves; a failed attempt is kept as `failed`."""

    slot: ShortText
    state: SlotState
    variant: DesiredVariant
    code: ShortText = ""
    message: str = ""


class OutboxMessage(msgspec.Struct, frozen=True):
    """A sealed message that the broker has not acknowledged yet."""

    id: Count
    channel: str
    payload: bytes


class Journal:
    """The file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        path.chmod(0o600)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin_session(self) -> int:
        """Give the number of a new session, one more than any before."""
        with self._transaction():
            session = int(self.get("session") or b"0") + 1
            self._put("session", str(session).encode())
        return session

    def get(self, key: str) -> bytes | None:
        """Give a kept value."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, key: str, value: bytes) -> None:
        """Keep a value."""
        with self._transaction():
            self._put(key, value)

    def add_message(self, channel: str, payload: bytes) -> None:
        """Keep a sealed message until the broker has it; past the bound the oldest goes."""
        with self._transaction():
            self._db.execute("INSERT INTO outbox (channel, payload) VALUES (?, ?)", (channel, payload))
            self._db.execute("DELETE FROM outbox WHERE id <= (SELECT max(id) FROM outbox) - ?", (MAX_OUTBOX,))

    def messages(self, after: int = 0, limit: int = 100) -> list[OutboxMessage]:
        """Give the oldest unacknowledged messages with an id above `after`."""
        rows = self._db.execute(
            "SELECT id, channel, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [OutboxMessage(id_, channel, bytes(payload)) for id_, channel, payload in rows]

    def forget_message(self, message_id: int) -> None:
        """Drop a message that the broker has acknowledged."""
        self._db.execute("DELETE FROM outbox WHERE id = ?", (message_id,))

    def slots(self, model: str | None = None) -> list[HeldSlot]:
        """Give the slots, of all models or of one."""
        rows = self._db.execute(
            "SELECT body FROM slots WHERE ? IS NULL OR model = ? ORDER BY model, slot", (model, model)
        )
        return [msgspec.json.decode(body, type=HeldSlot) for (body,) in rows]

    def set_slots(self, model: str, slots: list[HeldSlot]) -> None:
        """Replace a model's slots, all at once; none drops the model."""
        with self._transaction():
            self._db.execute("DELETE FROM slots WHERE model = ?", (model,))
            for slot in slots:
                body = msgspec.json.encode(slot)
                self._db.execute("INSERT INTO slots (model, slot, body) VALUES (?, ?, ?)", (model, slot.slot, body))

    def _put(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
