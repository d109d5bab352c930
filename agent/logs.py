"""The agent's log: told on the standard error, and kept in two files of the state folder, of which the end can be sent.

Whoever logs keeps secrets out: no token, key or password, and no URL that may hold one.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

MAX_FILE_BYTES: Final = 2**20
_FOLDER: Final = "logs"  # in the state folder
_NAME: Final = "agent.log"
_MAX_RECORD_CHARACTERS: Final = 16 * 1024


class UtcFormatter(logging.Formatter):
    """A line a record, its time in UTC."""

    def __init__(self) -> None:
        self.converter = time.gmtime
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Give a record's text, of a bounded length."""
        return super().format(record)[:_MAX_RECORD_CHARACTERS]


class LogFile(logging.StreamHandler[IO[str]]):
    """The file; once it is full it becomes the old one, and the one before that goes.

    `logging.handlers` does the same, and imports pickle and sockets for its other classes.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / _FOLDER / _NAME
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        super().__init__(self._open())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a full disk costs the line, not the agent."""
        with suppress(OSError, ValueError):
            if self.stream.tell() >= MAX_FILE_BYTES:
                self.stream.close()
                self._path.replace(old(self._path))
                self.stream = self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self.stream.close()
        super().close()

    def _open(self) -> IO[str]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def begin(level: str, state: Path | None) -> None:
    """Log from now on.

    Args:
        state: The agent's folder; None: to the standard error alone, as a command does that shows something and ends.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if state is not None:
        handlers.append(LogFile(state))
    for handler in handlers:
        handler.setFormatter(UtcFormatter())
    logging.basicConfig(level=level, handlers=handlers, force=True)


def end_of(state: Path, most_bytes: int) -> bytes:
    """Give the end of the log, whole lines of UTF-8."""
    path, found = state / _FOLDER / _NAME, b""
    for one in (path, old(path)):
        missing = most_bytes - len(found)
        with suppress(FileNotFoundError), one.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - missing, 0))
            piece = file.read(missing)
            if size > missing:  # begins within a line, or within a letter
                piece = piece.partition(b"\n")[2]
                return piece + found
            found = piece + found
    return found


def old(path: Path) -> Path:
    """Give the name of a file that was full."""
    return path.with_name(f"{path.name}.1")
