"""In what a device is not what it shall be. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shoal.wire.rollouts import Desired, DesiredVariant, Reported, SlotReport, SlotState

_UNDER_WAY: Final = {SlotState.DOWNLOADING: "It is being downloaded.", SlotState.TRIAL: "It is on trial."}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that differs; a side that has nothing is None.

    Attributes:
        because: What the device says about it, or why nothing is to be expected yet.
    """

    subject: str
    desired: str | None
    reported: str | None
    because: str


def differences(desired: Desired, reported: Reported | None, away: str) -> list[Difference]:
    """Compare a device's desired document with what it reported last.

    Args:
        away: Why the device cannot follow now, in words; empty if it can.
    """
    told = reported or Reported(id="", session=0, sequence=0, epoch=0, version=0)
    found = []
    if (told.epoch, told.version) != (desired.epoch, desired.version):
        answered = f"version {told.version}" if reported else None
        because = away or "The device has not answered the newest document yet."
        found.append(
            Difference(subject="document", desired=f"version {desired.version}", reported=answered, because=because)
        )
    serving = {slot.model: slot for slot in told.slots if slot.state is SlotState.SERVING}
    for variant in desired.variants:
        now = serving.get(variant.model)
        if now is None or now.variant_id != variant.variant_id:
            found.append(
                Difference(
                    subject=f"model {variant.model}",
                    desired=_named(variant),
                    reported=None if now is None else _named(now),
                    because=_said(variant, told) or away or "The device has not said anything about it yet.",
                )
            )
    found += _left_over(desired, serving, away)
    return found


def _left_over(desired: Desired, serving: Mapping[str, SlotReport], away: str) -> list[Difference]:
    wanted = {variant.model for variant in desired.variants}
    because = away or "It is being unloaded."
    return [
        Difference(subject=f"model {model}", desired=None, reported=_named(slot), because=because)
        for model, slot in sorted(serving.items())
        if model not in wanted
    ]


def _named(variant: DesiredVariant | SlotReport) -> str:
    recipe = f" {variant.recipe}" if isinstance(variant, DesiredVariant) and variant.recipe else ""
    return f"{variant.model}/{variant.version}{recipe} on {variant.runtime} (variant {variant.variant_id})"


def _said(variant: DesiredVariant, told: Reported) -> str:
    """Give what the device says about a variant that does not serve."""
    for slot in told.slots:
        if slot.variant_id == variant.variant_id and slot.state is not SlotState.SERVING:
            if slot.state is SlotState.FAILED:
                return f"It failed: {slot.message or slot.code}" + (f" [{slot.code}]" if slot.message else "")
            return _UNDER_WAY.get(slot.state, "")
    return ""
