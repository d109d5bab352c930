"""Whether what a device learned is kept. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class UpdateState(StrEnum):
    """How an incremental update stands."""

    LEARNING = "learning"
    KEPT = "kept"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """Shares 0..1 that the device measured: on what it knew and on what is new, before learning and after."""

    old_before: float
    old_after: float
    new_before: float
    new_after: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """KEPT or REJECTED, and why."""

    state: UpdateState
    message: str


def judge(learned: Accuracies, max_old_accuracy_drop: float) -> Verdict:
    """Keep what is better on the new samples and has not forgotten more of the old than is allowed.

    Args:
        max_old_accuracy_drop: Share 0..1 by which the old accuracy may fall.

    >>> better = Accuracies(old_before=0.96, old_after=0.95, new_before=0.1, new_after=0.9)
    >>> judge(better, 0.03).state.value, judge(better, 0.001).state.value
    ('kept', 'rejected')
    """
    # Accuracies are shares of few samples: the comparison must not turn on the last bit of a difference.
    drop = round(learned.old_before - learned.old_after, 9)
    if drop > max_old_accuracy_drop:
        message = f"The old accuracy fell by {drop:.1%}; at most {max_old_accuracy_drop:.1%} are allowed."
        return Verdict(state=UpdateState.REJECTED, message=message)
    if learned.new_after <= learned.new_before:
        message = f"The new accuracy did not rise: {learned.new_before:.1%} -> {learned.new_after:.1%}."
        return Verdict(state=UpdateState.REJECTED, message=message)
    message = f"New {learned.new_before:.1%} -> {learned.new_after:.1%}, old {learned.old_before:.1%} -> "
    return Verdict(state=UpdateState.KEPT, message=f"{message}{learned.old_after:.1%}.")
