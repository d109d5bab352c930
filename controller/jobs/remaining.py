"""How long a job will still run. Pure."""

from typing import Final

_LEAST_SHARE: Final = 0.05  # less than this says nothing about the rest
_LEAST_S: Final = 2.0


def remaining_s(elapsed_s: float, began_at: float, progress: float) -> float | None:
    """Give the seconds that the rest takes at the speed so far; None where nobody can tell yet.

    Args:
        elapsed_s: Since this attempt began.
        began_at: Progress at which it began, 0..1: what earlier attempts finished took no time of this one.
        progress: 0..1, by the work that ended and by how far that which runs is.

    >>> remaining_s(30.0, 0.0, 0.25), remaining_s(30.0, 0.5, 0.75), remaining_s(30.0, 0.0, 0.01)
    (90.0, 30.0, None)
    """
    gained = progress - began_at
    if gained < _LEAST_SHARE or elapsed_s < _LEAST_S:
        return None
    return elapsed_s * max(0.0, 1.0 - progress) / gained
