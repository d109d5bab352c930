"""A device's share of a federated round: fetch the weights, train on local data, give the update back."""

from typing import Any

import msgspec

from agent.executions import Tell
from agent.learning import Learning, read_spec
from shoal.wire.executions import Offer
from shoal.wire.federated import FederatedRoundResult, FederatedRoundSpec


class Federated:
    """Rounds."""

    def __init__(self, learning: Learning) -> None:
        self._learning = learning

    async def train(self, offer: Offer, tell: Tell) -> dict[str, Any]:
        """Do a round; gives the `FederatedRoundResult`.

        Raises:
            NeverDone, AgentError: Why there is no update.
        """
        spec = read_spec(offer, FederatedRoundSpec)
        where = f"round {spec.round}"
        async with self._learning.session(offer.execution_id, stays_warm=not spec.is_last_round) as update:
            tell(0.05, f"{where}: fetching")
            program = await self._learning.program(offer.execution_id, spec.train_program)
            weights = await self._learning.fetch(offer.execution_id, spec.weights)
            told = await self._learning.ask(
                "train",
                lambda share: tell(0.1 + 0.8 * share, f"{where}: training"),
                program=program,
                weights=weights,
                dataset=self._learning.dataset(spec.dataset),
                output=str(update),
                epochs=spec.local_epochs,
                batch_size=spec.batch_size,
                learning_rate=spec.learning_rate,
                momentum=spec.momentum,
                seed=spec.seed,
            )
            tell(0.9, f"{where}: sending the update")
            await self._learning.upload(update, told["sha256"])
        result = FederatedRoundResult(
            update=told["sha256"],
            size_bytes=told["size_bytes"],
            examples=told["examples"],
            loss=told["loss"],
            duration_s=told["duration_s"],
        )
        return dict(msgspec.to_builtins(result))
