"""What to do next, from what is desired and what is held; and the loop that does it, one step at a time.

`next_step` is pure. Invariants of the loop: one step runs at a time; each is journaled when it is done; a step that
failed is not tried again for the same execution, so that a broken variant cannot make a device busy for ever; what
served before goes on serving.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.journal import HeldSlot
from shoal.wire.rollouts import Desired, DesiredVariant, SlotState

_log: Final = logging.getLogger(__name__)


class StepKind(StrEnum):
    """What can be done."""

    INSTALL = "install"
    PROVE = "prove"
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do. `variant` is what shall serve, for `REMOVE` what shall go."""

    kind: StepKind
    variant: DesiredVariant


def next_step(desired: Desired, held: Sequence[HeldSlot], proven: dict[str, str]) -> Step | None:
    """Give what to do next, None if all is as desired.

    Args:
        held: All slots.
        proven: For each model that this process has proven to serve, the execution that the receipt answered.
    """
    serving = {slot.variant.model: slot for slot in held if slot.state is SlotState.SERVING}
    failed = {(slot.variant.variant_id, slot.variant.execution_id) for slot in held if slot.state is SlotState.FAILED}
    for variant in desired.variants:
        now = serving.get(variant.model)
        if now is not None and now.variant.variant_id == variant.variant_id:
            # A new execution wants a new proof; so does a new process, which has to load it again.
            if proven.get(variant.model) != variant.execution_id:
                return Step(kind=StepKind.PROVE, variant=variant)
        elif (variant.variant_id, variant.execution_id) not in failed:
            return Step(kind=StepKind.INSTALL, variant=variant)
        elif now is not None and variant.model not in proven:
            return Step(kind=StepKind.PROVE, variant=now.variant)
    wanted = {variant.model for variant in desired.variants}
    for slot in held:
        if slot.variant.model not in wanted:
            return Step(kind=StepKind.REMOVE, variant=slot.variant)
    return None


class Supervisor:
    """Runs steps until there are none, each time that it is woken."""

    def __init__(self, plan: Callable[[], Step | None], run: Callable[[Step], Awaitable[None]]) -> None:
        self._plan = plan
        self._run = run
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again whether there is something to do."""
        self._woken.set()

    async def supervise(self) -> None:
        """Run steps until canceled."""
        pause_s = 1.0
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                while (step := self._plan()) is not None:
                    await self._run(step)
                pause_s = 1.0
            except Exception:  # the loop's edge: whatever a step does, the device goes on being supervised
                _log.exception("a step failed unexpectedly; trying again in %.0f s", pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 300.0)
                self._woken.set()
