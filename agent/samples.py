"""The samples that wait to be sent: the newest in memory, the others in the journal.

Flash wears out: the journal is written once for each message that is sent, and each few minutes while none can be. A
power cut or a kill costs what was taken since: at most one interval of sending.
"""

import time
from collections.abc import Collection, Mapping
from itertools import chain
from typing import Final

import msgspec

from agent.batches import Budget, Sample, spared
from agent.clock import ticks_s
from agent.journal import Journal

MAX_SAMPLES: Final = 2_000  # a day and a third, one a minute
MAX_BYTES: Final = 2 * 2**20


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """How far the sending is, as the journal keeps it.

    Attributes:
        message: Sealed, and not known to be acknowledged: sent again as it is, so that it counts once.
        dropped: Samples thrown away since.
        left_bytes, at_s: The budget.
    """

    message: bytes = b""
    dropped: int = 0
    left_bytes: float | None = None
    at_s: float = 0.0


class Samples:
    """The store of one agent.

    Attributes:
        message: See `Sending`.
        dropped: See `Sending`.
    """

    def __init__(self, journal: Journal, boot_id: str, bytes_per_day: float) -> None:
        self._journal = journal
        self._boot_id = boot_id
        self._stored = journal.sample_sizes()
        self._fresh: dict[int, Sample] = {}
        self._gone: set[int] = set()  # of the stored ones: dropped with the next writing
        kept = journal.get("telemetry")
        sending = Sending(at_s=time.time()) if kept is None else msgspec.msgpack.decode(kept, type=Sending)
        self._last_id = max(self._stored, default=0)
        self.message = sending.message
        self.dropped = sending.dropped
        self.budget = Budget(bytes_per_day, sending.left_bytes, sending.at_s)

    def __len__(self) -> int:
        return len(self._stored) + len(self._fresh)

    def add(self, figures: Mapping[str, float]) -> None:
        """Take a sample of now; past the bounds what is old becomes sparser."""
        self._last_id += 1
        packed = msgspec.msgpack.encode(figures)
        self._fresh[self._last_id] = Sample(
            id=self._last_id, boot_id=self._boot_id, ticks_s=ticks_s(), at_s=time.time(), figures=packed
        )
        while len(self) > MAX_SAMPLES or self.size_bytes() > MAX_BYTES:
            if not self.thin():
                break

    def oldest(self, limit: int) -> list[Sample]:
        """Give the oldest samples of one boot of the machine."""
        found = [one for one in self._journal.samples(limit + len(self._gone)) if one.id not in self._gone]
        found = [*found, *self._fresh.values()][:limit]
        return [one for one in found if one.boot_id == found[0].boot_id]

    def thin(self) -> int:
        """Drop every second one of the older half, and count them; gives how many."""
        ids = spared([*self._stored, *self._fresh])
        self._remove(ids)
        self.dropped += len(ids)
        return len(ids)

    def size_bytes(self) -> int:
        """Give what the samples take."""
        return sum(chain(self._stored.values(), (len(one.figures) for one in self._fresh.values())))

    def begin_message(self, message: bytes, samples: Collection[Sample]) -> None:
        """Replace samples by the message that they went into, on the disk too; the one before was acknowledged."""
        self._remove([one.id for one in samples])
        self.message, self.dropped = message, 0
        self.save()

    def end_message(self) -> None:
        """Note that the broker has the message; the disk learns of it with the next writing."""
        self.message = b""

    def save(self) -> None:
        """Write everything to the disk."""
        now_s = time.time()
        sending = Sending(message=self.message, dropped=self.dropped, left_bytes=self.budget.left(now_s), at_s=now_s)
        self._journal.turn_samples(add=self._fresh.values(), forget=self._gone, state=msgspec.msgpack.encode(sending))
        self._stored |= {one.id: len(one.figures) for one in self._fresh.values()}
        self._fresh.clear()
        self._gone.clear()

    def forget(self) -> int:
        """Drop all, from the disk too; gives the bytes."""
        size = self.size_bytes() + len(self.message)
        self._remove([*self._stored, *self._fresh])
        self.message, self.dropped = b"", 0
        self.save()
        return size

    def _remove(self, ids: Collection[int]) -> None:
        for id_ in ids:
            if self._fresh.pop(id_, None) is None:
                del self._stored[id_]
                self._gone.add(id_)
