"""Telemetry: a sample each minute, sent together each few minutes, within a budget of bytes.

Unsigned, for charts and alerts only. What cannot be sent waits (`samples`); what the budget does not allow becomes
sparser, oldest first, and is counted. A message that was published and not acknowledged is sent again as the same
bytes, so the controller counts its samples once.
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from agent import batches
from agent.batches import Sample
from agent.clock import ticks_s
from agent.errors import AgentError
from agent.freshness import Freshness
from agent.identity import Identity
from agent.inference import Inference
from agent.journal import Journal
from agent.link import Link
from agent.outbox import Outbox, Stamp
from agent.samples import Samples
from agent.sampling import Sampler
from agent.settings import Settings
from shoal.wire import topics
from shoal.wire.telemetry import MAX_SAMPLES
from shoal.wire.telemetry import Telemetry as Message

_log: Final = logging.getLogger(__name__)
_FIRST_SAMPLE_S: Final = 5.0
_FIRST_SENDING_S: Final = 20.0  # at most, after a session began: operators want to see something, a fleet not to flood
_BETWEEN_S: Final = 2.0  # messages of what has piled up
_WORTHWHILE_BYTES: Final = 4096  # smaller ones are mostly names: rather wait until all fits


class Telemetry:
    """Takes samples and sends them."""

    def __init__(
        self,
        settings: Settings,
        *,
        identity: Identity,
        journal: Journal,
        outbox: Outbox,
        inference: Inference,
        freshness: Freshness,
        boot_id: str,
    ) -> None:
        self._interval_s = settings.telemetry_interval_s
        self._send_interval_s = settings.telemetry_send_interval_s
        self._identity = identity
        self._outbox = outbox
        self._inference = inference
        self._freshness = freshness
        self._boot_id = boot_id
        self._topic = topics.up(identity.device_id, "telemetry")
        self._sampler = Sampler(settings.state)
        self._samples = Samples(journal, boot_id, settings.telemetry_bytes_per_day)
        self._saved_at = time.monotonic()
        self._session_began = asyncio.Event()

    def wake(self) -> None:
        """Send what waits, soon: a session has opened."""
        self._session_began.set()

    async def sample(self) -> None:
        """Take samples until canceled."""
        pause_s = min(self._interval_s, _FIRST_SAMPLE_S)
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._interval_s
            try:
                await self._take_sample()
            except Exception:  # the loop's edge: a sensor, or a full disk, costs figures and not the agent
                _log.exception("a sample failed")

    async def send(self, link: Link) -> None:
        """Send samples until canceled."""
        while True:
            await self._session_began.wait()
            self._session_began.clear()
            await asyncio.sleep(random.uniform(0.5, 1) * min(_FIRST_SENDING_S, self._send_interval_s))  # noqa: S311
            while link.is_connected and not self._session_began.is_set():
                try:
                    pause_s = await self._send_some(link)
                except ConnectionError:
                    break  # it is sent in the next session
                except Exception:  # the loop's edge, as above
                    _log.exception("telemetry was not sent")
                    pause_s = self._send_interval_s
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._session_began.wait()

    def forget(self) -> int:
        """Drop what is not sent; gives its bytes."""
        return self._samples.forget()

    def close(self) -> None:
        """Keep what is not sent for the next start."""
        self._save()

    async def _take_sample(self) -> None:
        models: list[dict[str, Any]] = []
        with suppress(AgentError):  # the serving process just ended: the machine's own figures still count
            models = await self._inference.figures()
        self._samples.add(self._sampler.read(models))
        if time.monotonic() - self._saved_at > self._send_interval_s + self._interval_s:
            self._save()

    async def _send_some(self, link: Link) -> float:
        """Send a message; gives how long to wait for the next."""
        samples = self._samples
        if not samples.message and not self._begin_message():
            return self._send_interval_s
        is_behind = len(samples) > 0
        await link.publish("telemetry", samples.message)
        samples.end_message()
        between_s = min(_BETWEEN_S, self._send_interval_s) if is_behind else self._send_interval_s
        return between_s * random.uniform(0.9, 1.1)  # noqa: S311 (jitter, no secret)

    def _begin_message(self) -> bool:
        """Put the oldest samples into a message; False where there is none, or the budget does not allow it now."""
        samples = self._samples
        waiting = samples.oldest(MAX_SAMPLES)
        if not waiting:
            return False
        stamp = self._outbox.stamp()
        left = samples.budget.left(time.time())
        count, message = batches.largest(waiting, lambda some: self._seal(some, stamp), left)
        if count < len(waiting) and len(message) < _WORTHWHILE_BYTES:
            dropped = samples.thin()
            _log.info("the budget for telemetry is spent: %d samples dropped, %d wait", dropped, len(samples))
            self._save()
            return False
        samples.budget.spend(len(message))
        samples.begin_message(message, waiting[:count])
        self._saved_at = time.monotonic()
        return True

    def _seal(self, samples: Sequence[Sample], stamp: Stamp) -> bytes | None:
        put = batches.columns(samples, self._boot_id, time.time() - ticks_s())
        is_of_now = samples[0].boot_id == self._boot_id  # what the clock was off by then, nobody knows
        message = Message(
            id=stamp.id,
            session=stamp.session,
            sequence=stamp.sequence,
            begin=put.begin,
            offsets=put.offsets,
            series=put.series,
            clock_offset_s=self._freshness.clock_offset_s() if is_of_now else None,
            dropped=self._samples.dropped,
        )
        try:
            return self._identity.seal(message, self._topic)
        except ValueError:  # larger than a message may be
            return None

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        self._samples.save()
