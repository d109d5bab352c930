"""What the device must not forget: what it was told, what it holds, and what it still has to say. SQLite, FULL.

A power cut at any line leaves each change whole or absent. One thread uses it (the agent's event loop): each call is a
single small transaction.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.batches import Sample
from shoal.wire.devices import Count, ShortText
from shoal.wire.executions import Offer, ReportState
from shoal.wire.rollouts import DesiredVariant, SlotState

MAX_OUTBOX: Final = 10_000  # messages; a device that is away for long keeps the newest
MAX_OUTCOMES: Final = 200  # ended executions; the controller asks again within a few attempts or never

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS slots (
    model TEXT NOT NULL, slot TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (model, slot)
);
CREATE TABLE IF NOT EXISTS executions (id TEXT PRIMARY KEY, offer BLOB NOT NULL, outcome BLOB);
CREATE TABLE IF NOT EXISTS samples (
    id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, ticks_s REAL NOT NULL, at_s REAL NOT NULL, figures BLOB NOT NULL
);
"""


class HeldSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as the journal knows it: `a` or `b`, one of which serves; a failed attempt is kept as `failed`."""

    slot: ShortText
    state: SlotState
    variant: DesiredVariant
    code: ShortText = ""
    message: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution ended here."""

    state: ReportState
    code: ShortText = ""
    message: str = ""
    result: dict[str, Any] = {}


class HeldExecution(msgspec.Struct, frozen=True):
    """An offer that was taken; `outcome` is None while it is open."""

    offer: Offer
    outcome: Outcome | None


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

    def begin_session(self, floor: int) -> int:
        """Give the number of a new session, one more than any before and above `floor`."""
        with self._transaction():
            session = max(int(self.get("session") or b"0"), floor) + 1
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

    def remove(self, key: str) -> None:
        """Drop a kept value."""
        self._db.execute("DELETE FROM meta WHERE key = ?", (key,))

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

    def sample_sizes(self) -> dict[int, int]:
        """Give the bytes of each kept sample of telemetry by its id, oldest first."""
        return dict(self._db.execute("SELECT id, length(figures) FROM samples ORDER BY id").fetchall())

    def samples(self, limit: int) -> list[Sample]:
        """Give the oldest samples."""
        rows = self._db.execute("SELECT id, boot_id, ticks_s, at_s, figures FROM samples ORDER BY id LIMIT ?", (limit,))
        return [
            Sample(id=id_, boot_id=boot_id, ticks_s=ticks_s, at_s=at_s, figures=bytes(figures))
            for id_, boot_id, ticks_s, at_s, figures in rows
        ]

    def turn_samples(self, *, add: Iterable[Sample], forget: Iterable[int], state: bytes) -> None:
        """Keep samples and drop others, with the state of their sending, all at once: flash wears out."""
        with self._transaction():
            for one in add:
                row = (one.id, one.boot_id, one.ticks_s, one.at_s, one.figures)
                self._db.execute(
                    "INSERT INTO samples (id, boot_id, ticks_s, at_s, figures) VALUES (?, ?, ?, ?, ?)", row
                )
            self._db.executemany("DELETE FROM samples WHERE id = ?", [(id_,) for id_ in forget])
            self._put("telemetry", state)

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

    def is_new_offer(self, offer: Offer) -> bool:
        """Tell whether an offer was made after all that were taken."""
        newest = msgspec.json.decode(self.get("offer") or b"[0,0]", type=tuple[int, int])
        return (offer.epoch, offer.number) > newest

    def take_offer(self, offer: Offer) -> None:
        """Keep an offer as open; an earlier attempt of the same execution goes."""
        with self._transaction():
            self._mark(offer)
            self._db.execute(
                "INSERT OR REPLACE INTO executions (id, offer) VALUES (?, ?)",
                (offer.execution_id, msgspec.json.encode(offer)),
            )

    def pass_over(self, offer: Offer) -> None:
        """Note that an offer was seen and not taken, so that it cannot be taken later."""
        with self._transaction():
            self._mark(offer)

    def execution(self, execution_id: str) -> HeldExecution | None:
        """Give an execution, None for one that was never offered or is forgotten."""
        row = self._db.execute("SELECT offer, outcome FROM executions WHERE id = ?", (execution_id,)).fetchone()
        return None if row is None else _held(*row)

    def open_offers(self) -> list[Offer]:
        """Give the offers that are not done, oldest first."""
        rows = self._db.execute("SELECT offer, outcome FROM executions WHERE outcome IS NULL ORDER BY rowid")
        return [_held(*row).offer for row in rows]

    def end_execution(self, execution_id: str, outcome: Outcome) -> None:
        """Keep how an execution ended, to say it again when asked; past the bound the oldest ended ones go."""
        with self._transaction():
            self._db.execute(
                "UPDATE executions SET outcome = ? WHERE id = ?", (msgspec.json.encode(outcome), execution_id)
            )
            self._db.execute(
                "DELETE FROM executions WHERE rowid IN (SELECT rowid FROM executions WHERE outcome IS NOT NULL "
                "ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                (MAX_OUTCOMES,),
            )

    def forget_execution(self, execution_id: str) -> None:
        """Drop an execution that the controller canceled."""
        with self._transaction():
            self._db.execute("DELETE FROM executions WHERE id = ?", (execution_id,))

    def _mark(self, offer: Offer) -> None:
        if self.is_new_offer(offer):  # a newer attempt may come late; an older number must not count again
            self._put("offer", msgspec.json.encode((offer.epoch, offer.number)))

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


def _held(offer: bytes, outcome: bytes | None) -> HeldExecution:
    return HeldExecution(
        msgspec.json.decode(offer, type=Offer),
        None if outcome is None else msgspec.json.decode(outcome, type=Outcome),
    )
