"""What to do next, from what is desired and what is held. Pure.

A step that failed is not tried again for the same attempt, so that a broken variant cannot make a device busy for
ever; what served before goes on serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.journal import HeldSlot
from shoal.wire.incremental import DriftMonitor
from shoal.wire.rollouts import Desired, DesiredVariant, SlotState


class StepKind(StrEnum):
    """What can be done."""

    INSTALL = "install"
    PROVE = "prove"
    REMOVE = "remove"
    WATCH = "watch"
    REPORT = "report"


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do.

    Attributes:
        variant: What shall serve, for `REMOVE` what shall go; None for `WATCH` (set the monitors) and `REPORT`.
    """

    kind: StepKind
    variant: DesiredVariant | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the device holds.

    Attributes:
        slots: All of them.
        proven: For each model that this process has proven to serve, the execution and attempt that its receipt named.
        monitors: Those that are set.
        reported: `(epoch, version)` of the desired document that was reported on last by this process.
    """

    slots: Sequence[HeldSlot]
    proven: dict[str, tuple[str, int]]
    monitors: Sequence[DriftMonitor]
    reported: tuple[int, int]


def next_step(desired: Desired, held: Held) -> Step | None:
    """Give what to do next, None if all is as desired."""
    serving = {slot.variant.model: slot for slot in held.slots if slot.state is SlotState.SERVING}
    failed = {
        (slot.variant.variant_id, *_attempt(slot.variant)) for slot in held.slots if slot.state is SlotState.FAILED
    }
    for variant in desired.variants:
        now = serving.get(variant.model)
        if now is not None and now.variant.variant_id == variant.variant_id:
            # A new execution wants a new proof; so does a new process, which has to load it again.
            if held.proven.get(variant.model) != _attempt(variant):
                return Step(kind=StepKind.PROVE, variant=variant)
        elif (variant.variant_id, *_attempt(variant)) not in failed:
            return Step(kind=StepKind.INSTALL, variant=variant)
        elif now is not None and variant.model not in held.proven:
            return Step(kind=StepKind.PROVE, variant=now.variant)
    wanted = {variant.model for variant in desired.variants}
    for slot in held.slots:
        if slot.variant.model not in wanted:
            return Step(kind=StepKind.REMOVE, variant=slot.variant)
    if list(held.monitors) != desired.monitors:
        return Step(kind=StepKind.WATCH)
    if held.reported != (desired.epoch, desired.version):
        return Step(kind=StepKind.REPORT)
    return None


def _attempt(variant: DesiredVariant) -> tuple[str, int]:
    return variant.execution_id, variant.attempt
