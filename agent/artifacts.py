"""Artifacts on the device: fetched with resume, verified, kept by digest, dropped when nothing names them.

Trusted only because a signed message named their digest: a file gets its name after its bytes were hashed.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from agent.door import Door
from agent.errors import AgentError
from shoal.wire.devices import ArtifactRef

_SPARE_BYTES: Final = 64 * 1024 * 1024  # left free for the journal and for everybody else


class ArtifactStore:
    """The folder of artifacts.

    Args:
        on_fetched: Told how many bytes came, and in how many seconds; in the thread that fetched them.
    """

    def __init__(self, folder: Path, on_fetched: Callable[[int, float], None] = lambda _bytes, _seconds: None) -> None:
        self._folder = folder
        self._on_fetched = on_fetched
        self._guard = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}  # by digest: two executions may want the same one at once
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, sha256: str) -> Path:
        """Give where an artifact stands, or would stand."""
        return self._folder / sha256

    def fetch(self, ref: ArtifactRef, door: Door, progress: Callable[[float], None]) -> Path:
        """Give an artifact, fetching what is missing of it. Blocking.

        Args:
            progress: Told the share that is there, 0..1.

        Raises:
            AgentError: `artifact.digest_mismatch`, `artifact.too_large`, `artifact.no_space`, or the door's.
        """
        path = self.path(ref.sha256)
        with self._guard:
            turn = self._fetching.setdefault(ref.sha256, threading.Lock())
        with turn:
            if not path.exists():
                part = path.with_suffix(".part")
                self._complete(part, ref, door, progress)
                part.replace(path)
                progress(1.0)
        return path

    def forget_unnamed(self, named: Collection[str]) -> None:
        """Drop what nothing names any more, half-fetched files too."""
        for path in self._folder.iterdir():
            if path.stem not in named:
                path.unlink(missing_ok=True)
        with self._guard:
            self._fetching = {name: turn for name, turn in self._fetching.items() if name in named or turn.locked()}

    def _complete(self, part: Path, ref: ArtifactRef, door: Door, progress: Callable[[float], None]) -> None:
        """Fetch what is missing of a half-fetched file, or all of it if the half is damaged."""
        have = part.stat().st_size if part.exists() else 0
        if have > ref.size_bytes:
            part.unlink()
            have = 0
        if shutil.disk_usage(self._folder).free < ref.size_bytes - have + _SPARE_BYTES:
            raise AgentError("artifact.no_space", f"There is no room for {ref.size_bytes} bytes on this device.")
        if have < ref.size_bytes:
            self._append(part, ref, have, door, progress)
        found = _digest(part)
        if found != ref.sha256 and have:  # a power cut can leave a file whose end was never written
            part.unlink()
            self._append(part, ref, 0, door, progress)
            found = _digest(part)
        if found != ref.sha256:
            part.unlink()
            message = f"The bytes have sha256 {found}, wanted is {ref.sha256}."
            raise AgentError("artifact.digest_mismatch", message, is_final=True)

    def _append(self, part: Path, ref: ArtifactRef, have: int, door: Door, progress: Callable[[float], None]) -> None:
        before, began = have, time.monotonic()
        try:
            with door.blob(ref.sha256, have) as chunks, part.open("ab") as file:
                for chunk in chunks:
                    have += len(chunk)
                    if have > ref.size_bytes:
                        raise AgentError("artifact.too_large", "The controller sent more bytes than it announced.")
                    file.write(chunk)
                    progress(have / ref.size_bytes)
                file.flush()
                os.fsync(file.fileno())
        except AgentError as error:
            if error.code == "artifact.too_large":
                part.unlink(missing_ok=True)
            raise
        if have < ref.size_bytes:
            raise AgentError("controller.unreachable", "The controller broke the download off.")
        self._on_fetched(have - before, time.monotonic() - began)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
