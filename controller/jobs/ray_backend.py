"""Ray: workers that run jobs, one actor process each. The only importer of ray.

Started by whoever runs the first job, never before: it takes 5-12 s and 0.6 GB. An actor keeps what its jobs keep warm
(a loaded program), so the first idle one, in the order in which they were started, gets the next job.
Not here: rows (`runner`); the functions that run on a worker (each kind's own).
"""

import contextlib
import logging
import os
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from controller.errors import ShoalError, Unavailable
from controller.jobs.warm import close_all
from controller.jobs.work import JobFailed, Task

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report home; read when it is imported
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")  # SIGTERM is this process's own business

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

_log: Final = logging.getLogger(__name__)
_OBJECT_STORE_BYTES: Final = 100 * 2**20  # bytes travel through the blob store, not through Ray
_CLOSE_S: Final = 3.0
_ANSWER_S: Final = 0.02
_CONNECT_ERRORS: Final = (RayError, ConnectionError, RuntimeError, ValueError, OSError, TimeoutError)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended on its worker; `code` is empty where it succeeded."""

    code: str = ""
    message: str = ""
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Said:
    """Something that a running job reported: progress with a message, or a finished trial."""

    progress: float = 0.0
    message: str = ""
    trial: Mapping[str, Any] | None = None


class _Reports:
    """A job's reports until the controller fetches them. One thread appends, another takes."""

    def __init__(self) -> None:
        self._said: deque[Said] = deque()

    def progress(self, share: float, message: str) -> None:
        self._said.append(Said(progress=share, message=message))

    def trial(self, trial: Mapping[str, Any]) -> None:
        self._said.append(Said(trial=dict(trial)))

    def take(self) -> list[Said]:
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._said.popleft())
        return taken


class _Worker:
    """Runs on Ray: one job at a time, and answers about it meanwhile."""

    def __init__(self) -> None:
        self._reports = _Reports()

    def run(self, function: str, task: Task) -> tuple[Outcome, list[Said]]:
        """Run a job; gives how it ended and what was not fetched yet."""
        module, _, name = function.partition(":")
        try:
            result = getattr(import_module(module), name)(task, self._reports)
            outcome = Outcome(result=result)
        except JobFailed as error:
            outcome = Outcome(code=error.code, message=error.message, result=error.result)
        except ShoalError as error:
            outcome = Outcome(code=error.code, message=error.message, result={})
        except Exception as error:  # the edge of a worker: a defect in one job is that job's failure
            traceback.print_exc()
            outcome = Outcome(code="job.failed", message=f"{type(error).__name__}: {error}", result={})
        return outcome, self._reports.take()

    def reports(self) -> list[Said]:
        """Give what the running job said since the last time."""
        return self._reports.take()

    def close(self) -> None:
        """End what the worker keeps warm; it is ended itself right after."""
        close_all()


class RunningJob:
    """A job on a worker."""

    def __init__(self, worker: Any, done: Any) -> None:
        self.worker = worker
        self._done = done
        self._asked: Any = None

    def said(self) -> list[Said]:
        """Give what the job has said; hardly waits where the worker is too busy to answer."""
        if self._asked is None:
            self._asked = self.worker.reports.remote()
        if not ray.wait([self._asked], timeout=_ANSWER_S)[0]:
            return []
        asked, self._asked = self._asked, None
        try:
            said: list[Said] = ray.get(asked)
        except RayError:
            return []  # the worker is gone; the job's own end says so
        return said

    def is_done(self) -> bool:
        """Tell whether it has ended."""
        return bool(ray.wait([self._done], timeout=0)[0])

    def end(self) -> tuple[Outcome, list[Said]]:
        """Give how it ended, and what it said at last. A worker that is gone is a named failure."""
        said = self.said() if self._asked is not None and ray.wait([self._asked], timeout=1)[0] else []
        self._asked = None
        try:
            outcome, last = ray.get(self._done)
        except OutOfMemoryError as error:
            return Outcome(code="job.out_of_memory", message=f"Ray ended the worker: {error}"[:500], result={}), said
        except RayActorError as error:
            message = f"The worker ended while it ran the job: {error}"[:500]
            return Outcome(code="job.worker_crashed", message=message, result={}), said
        except RayError as error:
            return Outcome(code="job.failed", message=f"Ray: {error}"[:500], result={}), said
        return outcome, said + last


class RayBackend:
    """A Ray, and as many workers as jobs may run at once."""

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

    def start(self, function: str, task: Task, on_done: Callable[[], None]) -> RunningJob:
        """Run a job on the first idle worker; `on_done` is called, in another thread, when it has ended."""
        worker: Any = next((other for other in self._workers if other not in self._busy), None)
        if worker is None:
            worker = self._actor.remote()
            self._workers.append(worker)
        self._busy.append(worker)
        done: Any = worker.run.remote(function, task)
        done.future().add_done_callback(lambda _: on_done())
        return RunningJob(worker, done)

    def give_back(self, job: RunningJob, *, is_alive: bool) -> None:
        """Keep the worker of a job that has ended for the next one, unless it died."""
        self._busy.remove(job.worker)
        if not is_alive:
            self._workers.remove(job.worker)

    def close(self) -> None:
        """End the workers, and Ray where it is the local one."""
        closed = [worker.close.remote() for worker in self._workers]
        if closed:
            ray.wait(closed, num_returns=len(closed), timeout=_CLOSE_S)
        ray.shutdown()
