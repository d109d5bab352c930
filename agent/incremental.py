"""Learning alone: say what the drift monitors noticed, and learn from the new samples when the controller wants it."""

import asyncio
from typing import Any, Final

import msgspec

from agent.errors import AgentError
from agent.executions import NeverDone, Tell
from agent.inference import Crossing, Inference, Watched
from agent.learning import Learning, read_spec
from agent.outbox import Outbox
from shoal.wire.executions import Offer
from shoal.wire.incremental import Evidence, IncrementalUpdateResult, IncrementalUpdateSpec

_LOOK_INTERVAL_S: Final = 1.0
_WAITING_SHARE: Final = 0.5  # of an update's progress; learning is the rest


class Incremental:
    """Monitors and updates."""

    def __init__(self, *, learning: Learning, inference: Inference, outbox: Outbox) -> None:
        self._learning = learning
        self._inference = inference
        self._outbox = outbox
        self._told: set[tuple[str, int, str]] = set()
        self.watched: list[Watched] = []  # as of the last look

    async def watch(self) -> None:
        """Turn each crossing into signed evidence, once, until canceled."""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            try:
                self.watched = await self._inference.watched() if self._inference.monitors else []
            except AgentError:
                continue  # the serving process ended; the next one begins to watch anew
            for one in self.watched:
                if one.crossing is not None:
                    self._say(one, one.crossing)

    async def update(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        """Wait for new samples and learn them; gives the `IncrementalUpdateResult`.

        Raises:
            NeverDone, AgentError: Why nothing was learned.
        """
        spec = read_spec(offer, IncrementalUpdateSpec)
        if spec.evaluation_samples >= spec.new_samples:
            raise NeverDone("execution.malformed", "More samples would measure than there are.")
        execution_id, learning = offer.execution_id, self._learning
        dataset = learning.dataset(spec.dataset)
        async with learning.session(execution_id, stays_warm=False) as update:
            await self._await_samples(spec, dataset, tell)
            tell(_WAITING_SHARE, "fetching")
            told = await learning.ask(
                "fine_tune",
                lambda share: tell(_WAITING_SHARE + 0.4 * share, "learning"),
                train_program=await learning.program(execution_id, spec.train_program),
                eval_program=await learning.program(execution_id, spec.eval_program),
                weights=await learning.fetch(execution_id, spec.weights),
                replay=await learning.fetch(execution_id, spec.replay),
                retention=await learning.fetch(execution_id, spec.retention),
                dataset=dataset,
                since=spec.since,
                new_samples=spec.new_samples,
                evaluation_samples=spec.evaluation_samples,
                output=str(update),
                settings={
                    "steps": spec.steps,
                    "batch_new": spec.batch_new,
                    "batch_replay": spec.batch_replay,
                    "learning_rate": spec.learning_rate,
                    "momentum": spec.momentum,
                    "temperature": spec.distillation_temperature,
                    "seed": spec.seed,
                },
            )
            tell(0.95, "sending the update")
            await learning.upload(update, told["sha256"])
        figures = {name: told[name] for name in IncrementalUpdateResult.__struct_fields__ if name != "update"}
        return dict(msgspec.to_builtins(IncrementalUpdateResult(update=told["sha256"], **figures)))

    async def _await_samples(self, spec: IncrementalUpdateSpec, dataset: str, tell: Tell) -> None:
        while True:
            samples = (await self._learning.ask("count", dataset=dataset, since=spec.since))["samples"]
            share = min(samples / spec.new_samples, 1.0)
            tell(_WAITING_SHARE * share, f"{samples} of {spec.new_samples} labelled samples")
            if samples >= spec.new_samples:
                return
            await asyncio.sleep(_LOOK_INTERVAL_S)

    def _say(self, watched: Watched, crossing: Crossing) -> None:
        known = (watched.policy_id, watched.version, crossing.at)
        if known in self._told:
            return
        self._outbox.add(
            "event",
            lambda stamp: Evidence(
                id=stamp.id,
                session=stamp.session,
                sequence=stamp.sequence,
                policy_id=watched.policy_id,
                model=watched.model,
                version=watched.version,
                samples=crossing.samples,
                population_stability_index=crossing.population_stability_index,
                drift_detected=True,
                noticed_at=crossing.at,
            ),
        )
        self._told.add(known)
