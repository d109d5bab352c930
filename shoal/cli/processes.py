"""Child processes that never outlive us: ended in order, and what they leave behind is ended too.

`keep` runs the work in a keeper's child. On Linux both adopt orphans (a killed Ray driver leaves some), so whichever of
the two is killed, even by -9, the other one ends all that is left. Elsewhere children are only ended in order.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import psutil

from shoal.cli.errors import CliError
from shoal.cli.interpreter import python

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SWEEP_S: Final = 2.0
_TAIL_BYTES: Final = 4096
_LOOK_INTERVAL_S: Final = 0.02

_libc: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A process whose standard error, and output unless it is piped, goes into a log file; the one before is kept."""

    def __init__(
        self, name: str, arguments: list[str], *, environment: Mapping[str, str], log: Path, pipe: bool = False
    ) -> None:
        self.name = name
        self.log = log
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            self.process = subprocess.Popen(
                python(*arguments),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else descriptor,
                stderr=descriptor,
                preexec_fn=_end_with_parent(os.getpid()),
            )
        finally:
            os.close(descriptor)

    @property
    def output(self) -> IO[bytes]:
        """Its standard output, where that is piped."""
        assert self.process.stdout is not None
        return self.process.stdout

    def has_ended(self) -> bool:
        """Tell whether it is gone."""
        return self.process.poll() is not None

    def last_line(self) -> str:
        """Give the last thing that it logged."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def end(self, grace_s: float, is_hurried: Callable[[], bool]) -> None:
        """Ask it to end, and kill it after a while, or at once where there is a hurry."""
        if self.has_ended():
            return
        self.process.terminate()
        deadline = time.monotonic() + grace_s
        while not self.has_ended() and time.monotonic() < deadline and not is_hurried():
            time.sleep(_LOOK_INTERVAL_S)
        self.process.kill()
        self.process.wait()


def keep(work: Callable[[], int]) -> int:
    """Do work in a child process and give its exit code; nothing that it started is left afterwards.

    Signals that reach this process are handed on. The child is in a session of its own, so that Ctrl-C in a terminal
    reaches it, and what it starts, only through here. It begins with `SIGNALS` blocked: `work` unblocks them when
    it can handle them.

    Raises:
        CliError: `up.killed`, by a signal that the child could not handle.
    """
    keeper = os.getpid()
    _adopt_orphans()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        os._exit(_work_apart(work, keeper))
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _hand_on(child))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    _, status = os.waitpid(child, 0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the rest takes two seconds, and is not to be left undone
    sweep()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise CliError("up.killed", f"Signal {-code} ended its process {child}; the rest was ended too.")
    return code


def sweep() -> None:
    """End everything that descends from this process: asked first, then killed."""
    start = time.monotonic()
    asked: set[psutil.Process] = set()
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < start + 2 * _SWEEP_S:
        is_asking = time.monotonic() < start + _SWEEP_S
        for process in left:
            if not is_asking or process not in asked:
                _signal(process, signal.SIGTERM if is_asking else signal.SIGKILL)
                asked.add(process)
        time.sleep(_LOOK_INTERVAL_S)
        reap_orphans(())


def reap_orphans(own: tuple[int, ...]) -> None:
    """Forget ended processes that were adopted; the `own` ones are looked after elsewhere."""
    while sys.platform == "linux":
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)


def _work_apart(work: Callable[[], int], keeper: int) -> int:
    code = 1
    try:
        os.setsid()
        _adopt_orphans()
        _end_with_parent(keeper)()
        code = work()
    except BaseException:  # the edge of a process: nothing above may run in it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.Error):  # gone meanwhile
        process.send_signal(number)


def _hand_on(child: int) -> Callable[[int, object], None]:
    def hand_on(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    return hand_on


def _adopt_orphans() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_with_parent(parent: int) -> Callable[[], None]:
    """Let the kernel ask a process to end when its parent dies, kill -9 too; to be called in that process."""

    def call() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # it died in between

    return call
