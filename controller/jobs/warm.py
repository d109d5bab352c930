"""Sandboxes that are kept between uses: starting one and importing torch takes seconds, asking it milliseconds.

One for each key (a program, a runtime, a variant), lent to one at a time. At most so many live; the least recently used
goes first, and each when nobody needed it for a while or when it has worked long enough to come near its limit of
processor time.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar
from weakref import WeakSet

from controller.errors import Unavailable

IDLE_S: Final = 60.0
MOST: Final = 4
_WAIT_S: Final = 30.0
_MAX_BUSY_S: Final = 450.0  # half of the processor time that a sandbox may use in its life


_ALL: "Final[WeakSet[Warm[Any]]]" = WeakSet()


class Keepable(Protocol):
    """What can be kept: a sandbox."""

    @property
    def is_running(self) -> bool:
        """Whether it lives and can be asked."""

    def close(self) -> None:
        """End it."""


Kept = TypeVar("Kept", bound=Keepable)


@dataclass
class _Entry(Generic[Kept]):
    sandbox: Kept
    busy_s: float
    idle_since: float


def close_all() -> None:
    """End every sandbox that this process keeps or lends."""
    for warm in list(_ALL):
        warm.close()


class Warm(Generic[Kept]):
    """Keeps sandboxes. Thread-safe."""

    def __init__(self, *, most: int = MOST, idle_s: float = IDLE_S, wait_s: float = _WAIT_S) -> None:
        self._most = most
        self._idle_s = idle_s
        self._wait_s = wait_s
        self._changed = threading.Condition()
        self._idle: dict[str, _Entry[Kept]] = {}
        self._lent: dict[str, Kept | None] = {}  # None while it starts
        self._sweeper: threading.Timer | None = None
        _ALL.add(self)

    @contextmanager
    def lend(self, key: str, start: Callable[[], Kept]) -> Iterator[Kept]:
        """Lend the sandbox of a key, started where there is none; one that died is not taken back.

        Raises:
            Unavailable: `runner.busy`, where all stayed lent for too long.
        """
        kept, unwanted = self._take(key)
        try:
            for sandbox in unwanted:
                sandbox.close()
            if kept is None:
                kept = _Entry(start(), 0.0, 0.0)
            self._lent[key] = kept.sandbox
            begun = time.monotonic()
            try:
                yield kept.sandbox
            finally:
                kept.busy_s += time.monotonic() - begun
        finally:
            self._take_back(key, kept)

    def close(self) -> None:
        """End all, those that are lent too: who uses one sees it crash."""
        with self._changed:
            lent = [sandbox for sandbox in self._lent.values() if sandbox is not None]
        for sandbox in lent:
            sandbox.close()
        self._sweep(older_than_s=0.0)

    def _take(self, key: str) -> tuple[_Entry[Kept] | None, list[Kept]]:
        """Give what is kept for a key and what has to go for it; from here on the key is lent."""
        with self._changed:
            is_free = self._changed.wait_for(
                lambda: key not in self._lent and len(self._lent) < self._most, self._wait_s
            )
            if not is_free:
                raise Unavailable("runner.busy", "All runners are at work; try again.")
            self._lent[key] = None
            kept = self._idle.pop(key, None)
            unwanted = []
            if kept is not None and not kept.sandbox.is_running:
                unwanted.append(kept.sandbox)
                kept = None
            while len(self._idle) + len(self._lent) > self._most:
                oldest = min(self._idle, key=lambda name: self._idle[name].idle_since)
                unwanted.append(self._idle.pop(oldest).sandbox)
        return kept, unwanted

    def _take_back(self, key: str, kept: _Entry[Kept] | None) -> None:
        is_good = kept is not None and kept.sandbox.is_running and kept.busy_s < _MAX_BUSY_S
        if kept is not None and not is_good:
            kept.sandbox.close()
        with self._changed:
            self._lent.pop(key, None)
            if kept is not None and is_good:
                kept.idle_since = time.monotonic()
                self._idle[key] = kept
                self._look_again()
            self._changed.notify_all()

    def _sweep(self, *, older_than_s: float) -> None:
        with self._changed:
            limit = time.monotonic() - older_than_s
            old = [key for key, kept in self._idle.items() if kept.idle_since <= limit]
            unwanted = [self._idle.pop(key).sandbox for key in old]
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
            self._look_again()
        for sandbox in unwanted:
            sandbox.close()

    def _look_again(self) -> None:
        """Have what is idle looked at when the oldest may be due."""
        if self._idle and self._sweeper is None:
            due_s = min(kept.idle_since for kept in self._idle.values()) + self._idle_s - time.monotonic()
            wanted = {"older_than_s": self._idle_s}
            self._sweeper = threading.Timer(max(0.01, due_s), self._sweep, kwargs=wanted)
            self._sweeper.daemon = True
            self._sweeper.start()
