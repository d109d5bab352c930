"""Artifacts of virtual devices: fetched for real and hashed, but not kept."""

import hashlib
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from agent.door import Door
from agent.errors import AgentError
from agent.simulator.counters import Counters
from agent.simulator.journal import VirtualJournal
from shoal.wire.devices import ArtifactRef

_MAX_KEPT_BYTES: Final = 256 * 2**20  # of weights that whole cohorts want
_KEY: Final = "artifacts"  # of the journal: digests that the device has


class Downloads:
    """What this process fetches.

    Args:
        is_shared: Fetch each artifact once for all devices.
    """

    def __init__(self, counters: Counters, *, is_shared: bool) -> None:
        self._counters = counters
        self._is_shared = is_shared
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._verified: set[str] = set()
        self._kept: dict[str, bytes] = {}

    def fetch(self, ref: ArtifactRef, door: Door, progress: Callable[[float], None]) -> None:
        """Fetch an artifact and look whether it is the one. Blocking.

        Raises:
            AgentError: `artifact.digest_mismatch`, `artifact.too_large`, or the door's.
        """
        if not self._is_shared:
            self._read(ref, door, progress)
            return
        with self._turn(ref):
            if ref.sha256 not in self._verified:
                self._read(ref, door, progress)
                self._verified.add(ref.sha256)

    def read(self, ref: ArtifactRef, door: Door) -> bytes:
        """Give an artifact's bytes; fetched each time, or once. Blocking.

        Raises:
            AgentError: As `fetch`.
        """
        if not self._is_shared:
            return self._read(ref, door, lambda _share: None)
        with self._turn(ref):
            if ref.sha256 not in self._kept:
                if sum(map(len, self._kept.values())) + ref.size_bytes > _MAX_KEPT_BYTES:
                    self._kept.clear()
                self._kept[ref.sha256] = self._read(ref, door, lambda _share: None)
            return self._kept[ref.sha256]

    def _turn(self, ref: ArtifactRef) -> threading.Lock:
        with self._guard:
            return self._turns.setdefault(ref.sha256, threading.Lock())

    def _read(self, ref: ArtifactRef, door: Door, progress: Callable[[float], None]) -> bytes:
        data = bytearray()
        with door.blob(ref.sha256, 0) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > ref.size_bytes:
                    raise AgentError("artifact.too_large", "The controller sent more bytes than it announced.")
                progress(len(data) / max(ref.size_bytes, 1))
        with self._guard:
            self._counters.downloaded_bytes += len(data)
        if len(data) < ref.size_bytes:
            raise AgentError("controller.unreachable", "The controller broke the download off.")
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            message = "The bytes are not those of their name."
            raise AgentError("artifact.digest_mismatch", message, is_final=True)
        return bytes(data)


class VirtualStore:
    """Which artifacts a virtual device has: names without bytes, kept in its journal."""

    def __init__(self, journal: VirtualJournal, downloads: Downloads) -> None:
        self._journal = journal
        self._downloads = downloads

    def path(self, sha256: str) -> Path:
        """Give a name; nothing stands there."""
        return Path(sha256)

    def fetch(self, ref: ArtifactRef, door: Door, progress: Callable[[float], None]) -> Path:
        """Fetch an artifact unless the device has it. Blocking."""
        if ref.sha256 not in (held := self._held()):
            self._downloads.fetch(ref, door, progress)
            self._keep({*held, ref.sha256})
        return self.path(ref.sha256)

    def forget_unnamed(self, named: Collection[str]) -> None:
        """Drop what nothing names any more."""
        if (held := self._held()) - set(named):
            self._keep(held & set(named))

    def _held(self) -> set[str]:
        return set(msgspec.json.decode(self._journal.get(_KEY) or b"[]", type=list[str]))

    def _keep(self, held: set[str]) -> None:
        self._journal.put(_KEY, msgspec.json.encode(sorted(held)))
