"""A process that does a runtime's work where it cannot be done in this one: another Python's library, or an executable.

It is asked within deadlines and ends with this process. One that crashes or hangs is a named error of what was asked.
"""

import contextlib
import signal
import socket
import subprocess
import time
from typing import Final

from shoal.runtimes.model import BadModel
from shoal.runtimes.process import start

_END_S: Final = 1.0
_POLL_S: Final = 0.01


class Companion:
    """A running companion with its connection."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket, name: str) -> None:
        self._process = process
        self._connection = connection
        self._name = name
        self._deadline = 0.0
        self._doing = ""

    @classmethod
    def with_socket(cls, command: list[str], *, name: str) -> "Companion":
        """Start one that takes over a socket, whose number is its last argument."""
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            process = start([*command, str(number)], pass_fd=number, is_quiet=True, ends_with_parent=True)
        return cls(process, ours, name)

    @classmethod
    def with_path(cls, command: list[str], path: str, *, name: str, timeout_s: float) -> "Companion":
        """Start one that listens at a path, and connect.

        Raises:
            BadModel: `runtime.crashed`, `runtime.hung`.
        """
        process = start(command, is_quiet=True, ends_with_parent=True)
        companion = cls(process, socket.socket(socket.AF_UNIX), name)
        companion.begin("start", timeout_s)
        while companion._connection.connect_ex(path) != 0:
            if process.poll() is not None or time.monotonic() > companion._deadline:
                raise companion.broken()
            time.sleep(_POLL_S)
        return companion

    def begin(self, doing: str, timeout_s: float) -> None:
        """From now on, all that is sent and received has to be done in this time."""
        self._doing, self._deadline = doing, time.monotonic() + timeout_s

    def send(self, *parts: bytes) -> None:
        """Send all of it.

        Raises:
            BadModel: `runtime.crashed`, `runtime.hung`.
        """
        try:
            for part in parts:
                self._connection.settimeout(self._left_s())
                self._connection.sendall(part)
        except OSError as error:
            raise self.broken() from error

    def receive(self, most: int) -> bytes:
        """Take what is there, at least one byte.

        Raises:
            BadModel: `runtime.crashed`, `runtime.hung`.
        """
        try:
            self._connection.settimeout(self._left_s())
            data = self._connection.recv(most)
        except OSError as error:
            raise self.broken() from error
        if not data:
            raise self.broken()
        return data

    def receive_exactly(self, length: int) -> bytes:
        """Take so many bytes.

        Raises:
            BadModel: `runtime.crashed`, `runtime.hung`.
        """
        data = bytearray()
        while len(data) < length:
            data += self.receive(length - len(data))
        return bytes(data)

    def broken(self) -> BadModel:
        """End it, and give the error that says how it ended."""
        is_late = time.monotonic() > self._deadline
        self._connection.close()
        if not is_late:  # it is about to end by itself, and how is worth telling
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._process.kill()
        status = self._process.wait()
        if is_late:
            return BadModel("runtime.hung", f"{self._name} did not do {self._doing} in time.")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return BadModel("runtime.crashed", f"{self._name} ended ({how}) while it did {self._doing}.")

    def close(self, number: int = signal.SIGTERM) -> None:
        """End it: by this signal, or by force."""
        self._connection.close()
        self._process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._process.kill()
        self._process.wait()

    def _left_s(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)
