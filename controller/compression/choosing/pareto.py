"""Which variants no other beats in all of size, latency and accuracy, and how much they cover together. Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Point(NamedTuple):
    """A variant's three costs, each the less the better.

    Attributes:
        loss: 1 - accuracy.
    """

    size_bytes: float
    latency_ms: float
    loss: float


def dominates(one: Point, other: Point) -> bool:
    """Tell whether `one` is nowhere worse than `other`, and somewhere better.

    >>> dominates(Point(1, 1, 0.1), Point(1, 2, 0.1)), dominates(Point(1, 1, 0.1), Point(1, 1, 0.1))
    (True, False)
    """
    return one != other and all(mine <= its for mine, its in zip(one, other, strict=True))


def front(points: Sequence[Point]) -> list[int]:
    """Give the positions of the points that none dominates; of equal points each.

    >>> front([Point(1, 3, 0.1), Point(2, 3, 0.1), Point(3, 1, 0.1)])
    [0, 2]
    """
    return [index for index, point in enumerate(points) if not any(dominates(other, point) for other in points)]


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Give the volume of what is dominated by the points and dominates the reference; each axis in its own unit.

    Args:
        reference: Nowhere better than what shall count; points beyond it in any axis add nothing.

    Source: Zitzler and Thiele 1998, Multiobjective optimization using evolutionary algorithms; exact, by slices along
    the loss, O(n^2 log n).

    >>> hypervolume([Point(1, 1, 1), Point(0, 2, 2)], Point(2, 3, 3))
    5.0
    """
    inside = [point for point in points if all(mine < its for mine, its in zip(point, reference, strict=True))]
    losses = sorted({point.loss for point in inside})
    volume = 0.0
    for loss, above in pairwise([*losses, reference.loss]):
        slice_points = [(point.size_bytes, point.latency_ms) for point in inside if point.loss <= loss]
        volume += _area(slice_points, reference) * (above - loss)
    return volume


def _area(points: Sequence[tuple[float, float]], reference: Point) -> float:
    """Give the area between a staircase and the reference's corner."""
    area, lowest = 0.0, reference.latency_ms
    for size, latency in sorted(points):
        if latency < lowest:
            area += (reference.size_bytes - size) * (lowest - latency)
            lowest = latency
    return area
