"""What a variant may cost, and which of those that cost too much comes closest. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The bounds of a compression.

    Attributes:
        min_accuracy: The version's own score less the drop that is allowed.
        latency_factors: By runtime, how many times slower than here the devices are that are meant; 1 where that is not
            known, or none are meant.
    """

    min_accuracy: float
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    latency_factors: Mapping[str, float]

    @classmethod
    def of(cls, asked: Mapping[str, Any], score: float, factors: Mapping[str, float]) -> Self:
        """Give the bounds that a request's budget means for a version with a score."""
        return cls(
            min_accuracy=score - asked["max_accuracy_drop"],
            max_size_bytes=asked["max_size_bytes"],
            max_latency_ms=asked["max_latency_ms"],
            latency_factors=factors,
        )

    def latency_ms(self, runtime: str, figures: Mapping[str, Any]) -> float:
        """Give the latency that counts."""
        return float(figures["latency_p50_ms"]) * self.latency_factors.get(runtime, 1.0)

    def excess(self, runtime: str, figures: Mapping[str, Any]) -> dict[str, float]:
        """Give by how much a variant is over each bound, as a share of it; empty where it is inside.

        Args:
            figures: `accuracy`, `size_bytes`, `latency_p50_ms`.

        >>> budget = Budget(min_accuracy=0.9, max_size_bytes=100, latency_factors={})
        >>> budget.excess("onnxruntime", {"accuracy": 0.81, "size_bytes": 150, "latency_p50_ms": 1.0})
        {'accuracy': 0.1, 'size': 0.5}
        """
        # Scores are shares of samples: what differs in the last bit is the same share.
        over = {"accuracy": (self.min_accuracy - figures["accuracy"]) / max(self.min_accuracy, 1e-9)}
        if self.max_size_bytes is not None:
            over["size"] = figures["size_bytes"] / self.max_size_bytes - 1
        if self.max_latency_ms is not None:
            over["latency"] = self.latency_ms(runtime, figures) / self.max_latency_ms - 1
        return {name: round(share, 9) for name, share in over.items() if share > 1e-9}

    def refusal(self, runtime: str, figures: Mapping[str, Any]) -> tuple[str, str] | None:
        """Give code and message of the bound that a variant is most over; None where it is inside."""
        over = self.excess(runtime, figures)
        if not over:
            return None
        worst = max(over, key=lambda name: over[name])
        said = {
            "accuracy": f"it scores {figures['accuracy']:.4f}, at least {self.min_accuracy:.4f} is wanted",
            "size": f"it has {figures['size_bytes']} bytes, at most {self.max_size_bytes} are wanted",
            "latency": f"it takes {self._latency_words(runtime, figures)}, at most {self.max_latency_ms} ms are wanted",
        }
        return f"{worst}.over_budget", f"Outside the budget: {'; '.join(said[name] for name in over)}."

    def _latency_words(self, runtime: str, figures: Mapping[str, Any]) -> str:
        if self.max_latency_ms is None:
            return ""
        factor = self.latency_factors.get(runtime, 1.0)
        there = "" if factor == 1.0 else f" on the devices, {figures['latency_p50_ms']:.3f} ms here"
        return f"{self.latency_ms(runtime, figures):.3f} ms{there}"


def closest(budget: Budget, tried: Sequence[tuple[str, Mapping[str, Any]]]) -> int | None:
    """Give the position of the trial (runtime, figures) that is over the budget by the least; None of none.

    >>> budget = Budget(min_accuracy=0.9, latency_factors={})
    >>> closest(budget, [("litert", {"accuracy": 0.5}), ("litert", {"accuracy": 0.8})])
    1
    """
    if not tried:
        return None
    return min(range(len(tried)), key=lambda index: sum(budget.excess(*tried[index]).values()))
