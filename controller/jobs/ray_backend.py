"""Ray: workers that run jobs' units, one actor process each. The only importer of ray.

Started by whoever runs the first job, never before: it takes 5-12 s and 0.6 GB. An actor keeps what its units keep warm
(a loaded program), so the first idle one, in the order in which they were started, gets the next unit.
Not here: rows (`runner`); the functions that run on a worker (each kind's own).
"""

import contextlib
import errno
import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from controller.errors import ShoalError, Unavailable
from controller.jobs.said import Said
from controller.jobs.states import JobState
from controller.jobs.units import End
from controller.jobs.warm import close_all
from controller.jobs.work import JobFailed, Level, Task

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report home; read when it is imported
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # SIGTERM is this process's own business
if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or Path("~/.ray/auth_token").expanduser().exists():
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # the default of a local Ray, but not towards an address

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

_log: Final = logging.getLogger(__name__)
_OBJECT_STORE_BYTES: Final = 100 * 2**20  # bytes travel through the blob store, not through Ray
_CLOSE_S: Final = 3.0
_ANSWER_S: Final = 0.02
_LINES_PER_S: Final = 20
_MESSAGE: Final = 2000
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CONNECT_ERRORS: Final = (RayError, ConnectionError, RuntimeError, ValueError, OSError, TimeoutError)


class _Reports:
    """A unit's reports until the controller fetches them. One thread appends, another takes."""

    def __init__(self) -> None:
        self._said: deque[Said] = deque()
        self._second = 0.0
        self._lines = 0
        self._dropped = 0

    def progress(self, share: float, message: str) -> None:
        self._said.append(Said(progress=share, message=message))

    def log(self, level: Level, text: str) -> None:
        now = time.monotonic()
        if now - self._second >= 1.0:
            if self._dropped:
                self._said.append(Said(lines=(("warning", f"{self._dropped} lines came too fast and were dropped."),)))
            self._second, self._lines, self._dropped = now, 0, 0
        if self._lines >= _LINES_PER_S:
            self._dropped += 1
            return
        self._lines += 1
        self._said.append(Said(lines=((level, text),)))

    def keep(self, name: str, value: Any) -> None:
        self._said.append(Said(kept={name: value}))

    def trial(self, trial: Mapping[str, Any]) -> None:
        self._said.append(Said(trial=dict(trial)))

    def take(self) -> list[Said]:
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._said.popleft())
        return taken


class _Worker:
    """Runs on Ray: one unit at a time, and answers about it meanwhile."""

    def __init__(self) -> None:
        self._reports = _Reports()

    def run(self, function: str, task: Task) -> tuple[End, list[Said]]:
        """Run a unit; gives how it ended and what was not fetched yet."""
        module, _, name = function.partition(":")
        try:
            result = getattr(import_module(module), name)(task, self._reports)
            end = End(state=JobState.SUCCEEDED, result=result)
        except JobFailed as error:
            end = End(state=error.state, code=error.code, message=error.message, result=error.result)
        except ShoalError as error:
            end = End(state=JobState.FAILED, code=error.code, message=error.message)
        except OSError as error:
            code = "disk.full" if error.errno in _FULL else "job.failed"
            end = End(state=JobState.FAILED, code=code, message=f"{type(error).__name__}: {error}"[:_MESSAGE])
        except Exception as error:  # the edge of a worker: a defect in one job is that job's failure
            traceback.print_exc()
            end = End(state=JobState.FAILED, code="job.failed", message=f"{type(error).__name__}: {error}"[:_MESSAGE])
        return end, self._reports.take()

    def reports(self) -> list[Said]:
        """Give what the running unit said since the last time."""
        return self._reports.take()

    def close(self) -> None:
        """End what the worker keeps warm; it is ended itself right after."""
        close_all()


class RunningUnit:
    """A unit on a worker."""

    def __init__(self, worker: Any, done: Any) -> None:
        self.worker = worker
        self._done = done
        self._asked: Any = None

    def said(self) -> list[Said]:
        """Give what the unit has said; hardly waits where the worker is too busy to answer."""
        if self._asked is None:
            self._asked = self.worker.reports.remote()
        if not ray.wait([self._asked], timeout=_ANSWER_S)[0]:
            return []
        asked, self._asked = self._asked, None
        try:
            said: list[Said] = ray.get(asked)
        except RayError:
            return []  # the worker is gone; the unit's own end says so
        return said

    def is_done(self) -> bool:
        """Tell whether it has ended."""
        return bool(ray.wait([self._done], timeout=0)[0])

    def end(self) -> tuple[End, list[Said]]:
        """Give how it ended, and what it said at last. A worker that is gone is a named failure."""
        said = self.said() if self._asked is not None and ray.wait([self._asked], timeout=1)[0] else []
        self._asked = None
        try:
            end, last = ray.get(self._done)
        except OutOfMemoryError as error:
            return _lost("job.out_of_memory", f"Ray ended the worker: {error}"), said
        except RayActorError as error:
            return _lost("job.worker_crashed", f"The worker ended while it ran the job: {error}"), said
        except RayError as error:
            return _lost("job.failed", f"Ray: {error}"), said
        return end, said + last


class RayBackend:
    """A Ray, and as many workers as units may run at once."""

    def __init__(self, *, address: str, cpus: int) -> None:
        """Start a local Ray, or connect to a cluster's `address`.

        Raises:
            Unavailable: `ray.not_started`.
        """
        try:
            if address:
                ray.init(address=address, namespace="shoal", log_to_driver=False, logging_level=logging.ERROR)
            else:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address="127.0.0.1",
                )
        except _CONNECT_ERRORS as error:
            raise Unavailable("ray.not_started", f"Ray did not start: {error}"[:500]) from error
        self._actor = ray.remote(_Worker).options(num_cpus=1, max_concurrency=2)
        self._workers: list[Any] = []
        self._busy: list[Any] = []

    def start(self, function: str, task: Task, on_done: Callable[[], None]) -> RunningUnit:
        """Run a unit on the first idle worker; `on_done` is called, in another thread, when it has ended."""
        worker: Any = next((other for other in self._workers if other not in self._busy), None)
        if worker is None:
            worker = self._actor.remote()
            self._workers.append(worker)
        self._busy.append(worker)
        done: Any = worker.run.remote(function, task)
        done.future().add_done_callback(lambda _: on_done())
        return RunningUnit(worker, done)

    def give_back(self, unit: RunningUnit, *, is_alive: bool) -> None:
        """Keep the worker of a unit that has ended for the next one, unless it died."""
        self._busy.remove(unit.worker)
        if not is_alive:
            self._workers.remove(unit.worker)

    def stop(self, unit: RunningUnit) -> None:
        """End a unit with its worker, and with it the worker's sandboxes."""
        ray.kill(unit.worker)
        self.give_back(unit, is_alive=False)

    def close(self) -> None:
        """End the workers, and Ray where it is the local one."""
        closed = [worker.close.remote() for worker in self._workers]
        if closed:
            ray.wait(closed, num_returns=len(closed), timeout=_CLOSE_S)
        for worker in self._workers:
            ray.kill(worker)  # on a cluster they would wait for their owner's end to be noticed
        ray.shutdown()


def _lost(code: str, message: str) -> End:
    return End(state=JobState.FAILED, code=code, message=message[:500])
