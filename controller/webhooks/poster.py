"""Posts what is due, in the process that leads. A kill between a post and its note posts it again: at least once.

Each webhook has one post under way at a time, in the order of its events, so that one that is slow or gone holds up
itself alone. No transaction is open while somebody else's server is waited for.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from controller.db import Database, utc_now
from controller.events import WakeUp
from controller.observe import FAILURES
from controller.webhooks import posting, service
from controller.webhooks.service import Due

_log: Final = logging.getLogger(__name__)
_WORKERS: Final = 4
_LOOK: Final = 100  # deliveries read at once
_IDLE_S: Final = 1.0
_BUSY_S: Final = 0.05


class Poster:
    """The worker.

    Args:
        may_run: Whether this process leads.
    """

    def __init__(self, *, database: Database, wake_up: WakeUp, may_run: Callable[[], bool]) -> None:
        self._database = database
        self._wake_up = wake_up
        self._may_run = may_run
        self._under_way: dict[str, Future[None]] = {}

    def run(self, stop: threading.Event) -> None:
        """Post until `stop` is set."""
        seen = 0
        with ThreadPoolExecutor(_WORKERS, "webhook") as pool:
            while not stop.is_set():
                try:
                    if self._may_run():
                        self._begin(pool, stop)
                except Exception:  # the loop's edge: what failed is looked at again
                    _log.exception("webhooks could not be posted")
                    FAILURES.labels(loop="webhooks").inc()
                    stop.wait(_IDLE_S)
                if self._under_way:
                    stop.wait(_BUSY_S)
                else:
                    seen = self._wake_up.wait(seen, _IDLE_S)

    def _begin(self, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        for webhook_id in [one for one, future in self._under_way.items() if future.done()]:
            self._under_way.pop(webhook_id).result()
        room = _WORKERS - len(self._under_way)
        if room <= 0:
            return
        with self._database.reading() as session:
            found = service.due(session, utc_now(), limit=_LOOK, without=self._under_way)
        turns: dict[str, list[Due]] = {}
        for due in found:
            turns.setdefault(due.webhook_id, []).append(due)
        for webhook_id, its in list(turns.items())[:room]:
            self._under_way[webhook_id] = pool.submit(self._post_all, its, stop)

    def _post_all(self, its: list[Due], stop: threading.Event) -> None:
        for due in its:
            if stop.is_set() or not self._may_run():
                return
            outcome = posting.post(due.post)
            with self._database.transaction() as session:
                service.note(session, due.delivery_id, outcome, utc_now())
            if outcome.error:
                _log.info("webhook %s: %s", due.webhook_id, outcome.error)
                return  # the others are due still: somebody else's turn first
