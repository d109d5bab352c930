"""Which variant of a version a device gets. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VariantFigures:
    """A variant with what was measured in the cloud.

    Attributes:
        accuracy: 0..1, on the evaluation data set.
        latency_p50_ms: Median of single inferences, one thread.
    """

    id: str
    recipe: str
    runtime: str
    size_bytes: int
    accuracy: float
    latency_p50_ms: float


def choose_variant(
    candidates: Sequence[VariantFigures], runtimes: Collection[str], accuracy_drop_limit: float
) -> VariantFigures | None:
    """Give the smallest variant that the device can run and that is accurate enough; of equal ones the fastest.

    Args:
        candidates: All variants of the version.
        runtimes: What the device offers.
        accuracy_drop_limit: How far below the most accurate candidate a variant may be, 0..1. The reference is taken
            over all candidates, so that a device with one runtime is not served a variant that only looks best there.

    Returns:
        None if nothing fits.

    >>> def variant(name: str, size: int, accuracy: float) -> VariantFigures:
    ...     return VariantFigures(
    ...         id=name, recipe=name, runtime="onnxruntime", size_bytes=size, accuracy=accuracy, latency_p50_ms=1
    ...     )
    >>> both = [variant("int8", 90, 0.95), variant("fp32", 300, 0.96)]
    >>> [choose_variant(both, {"onnxruntime"}, limit).id for limit in (0.02, 0.0)]
    ['int8', 'fp32']
    """
    if not candidates:
        return None
    least_accuracy = max(candidate.accuracy for candidate in candidates) - accuracy_drop_limit
    fitting = [c for c in candidates if c.runtime in runtimes and c.accuracy >= least_accuracy]
    return min(fitting, key=lambda c: (c.size_bytes, c.latency_p50_ms, c.id), default=None)
