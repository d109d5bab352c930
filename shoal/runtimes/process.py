"""A child process and how its owner talks to it: frames over a socket, one request at a time.

A child that crashes or hangs is an error for the request in it, never its owner's end; it ends with its owner. It gets
no environment: what the owner was told is not the child's.
"""

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from shoal.runtimes.frames import FrameError, read_frame, write_frame

_END_S: Final = 3.0
_PR_SET_PDEATHSIG: Final = 1
_TEXT: Final = 500  # characters of a progress that are handed on
_libc: Final = ctypes.CDLL(None)  # opened here: between fork and exec nothing may be loaded
# The kernel ends a child with the *thread* that started it, so one thread that lives as long as the process starts all.
_STARTER: Final = ThreadPoolExecutor(1, thread_name_prefix="process starter")


class ProcessError(Exception):
    """A request that a child refused or did not survive.

    Attributes:
        code: The child's own, or `process.not_started`, `process.crashed`, `process.hung`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ChildProcess:
    """A running child with its connection. Thread-safe: requests are answered one after the other."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket, name: str) -> None:
        self._process = process
        self._connection = connection
        self._name = name
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether it lives and can be asked."""
        return self._process.poll() is None and self._connection.fileno() >= 0

    def ask(
        self, op: str, *, timeout_s: float, said: Callable[[float, str], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Send a request and give its answer.

        Args:
            said: Called with a share of 0..1 and a text for each frame of progress before the answer; the request asks
                for them by `progress: true`, which only children know that send them.

        Raises:
            ProcessError: The child's own code; or `process.crashed`, `process.hung`, and the child is ended.
        """
        if said is not None:
            arguments["progress"] = True
        with self._lock:
            answer, cause = None, None
            # A clock beside the request, as a child may also hang in the middle of its answer.
            watchdog = threading.Timer(timeout_s, self._process.kill)
            watchdog.daemon, watchdog.name = True, f"watchdog of {self._name}"
            watchdog.start()
            try:
                write_frame(self._connection, {"op": op, **arguments})
                answer = read_frame(self._connection)
                while said is not None and answer is not None and "progress" in answer:
                    said(_share(answer["progress"]), str(answer.get("text", ""))[:_TEXT])
                    answer = read_frame(self._connection)
            except (OSError, FrameError) as error:
                cause = error
            is_late = not watchdog.is_alive()
            watchdog.cancel()
            if answer is None:
                ended = self._kill()
                if is_late:
                    raise ProcessError("process.hung", f"{self._name} did not do {op} in {timeout_s:.0f} s.") from cause
                raise ProcessError("process.crashed", f"{self._name} ended ({ended}) while it did {op}.") from cause
        if not answer.get("ok"):
            raise ProcessError(str(answer.get("code", "process.failed"))[:256], str(answer.get("message", ""))[:2000])
        return answer

    def close(self) -> None:
        """End the child: it goes when its connection closes, or is killed."""
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._kill()

    def _kill(self) -> str:
        self._connection.close()
        # One that broke off ends by itself, and how it did is worth telling.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        self._process.kill()
        status = self._process.wait()
        number = (
            -status if status < 0 else status - 128
        )  # 128 + signal, as shells do, where a process between passed it on
        return signal.Signals(number).name if number > 0 else f"status {status}"


def _share(value: Any) -> float:
    """Give what a child says of its progress as 0..1, whatever it says."""
    is_share = isinstance(value, float | int) and 0 <= value <= 1
    return float(value) if is_share else 0.0


def start(
    command: list[str],
    *,
    pass_fd: int | None = None,
    folder: str = "/",
    is_quiet: bool = False,
    ends_with_parent: bool = False,
) -> "subprocess.Popen[bytes]":
    """Start a process without an environment, and without the files of this one but `pass_fd`.

    Args:
        is_quiet: Its output is thrown away: it may not write into this process's log.
        ends_with_parent: The kernel ends it with this process; what sees to that by itself does not need it.
    """
    output = subprocess.DEVNULL if is_quiet else None
    return _STARTER.submit(
        subprocess.Popen,
        command,
        env={},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=() if pass_fd is None else (pass_fd,),
        start_new_session=True,  # Ctrl-C is for the owner, which ends this
        preexec_fn=_end_with_parent if ends_with_parent else None,
    ).result()


def _end_with_parent() -> None:
    """Runs in the child before its program begins."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
