"""When a wave opens, when a rollout is done, and when it stops by itself. Pure.

A gate fails closed: as soon as too many devices failed, nothing more is opened, whatever else is still running.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.errors import Invalid


class RolloutState(StrEnum):
    """How a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, kw_only=True)
class WaveCounts:
    """The devices of one wave, by how far their steps are; the rest of `devices` is still on its way."""

    devices: int
    succeeded: int
    failed: int

    @property
    def is_done(self) -> bool:
        """Whether nobody of the wave is on the way any more."""
        return self.succeeded + self.failed == self.devices


class Step(StrEnum):
    """What to do with a rollout now."""

    WAIT = "wait"
    OPEN_NEXT = "open_next"
    PAUSE = "pause"
    SUCCEED = "succeed"


def assign_waves(devices: int, waves: Sequence[dict[str, float]]) -> list[int]:
    """Give each of `devices` its wave, counted from 0.

    A wave takes `count` devices, or the share `ratio` of all (rounded up), of those that are left; whoever is left
    after the last wave moves in that wave too.

    >>> assign_waves(6, [{"count": 1}, {"ratio": 0.5}, {"ratio": 1.0}])
    [0, 1, 1, 1, 2, 2]
    """
    if devices < 1 or not waves:
        raise Invalid("rollout.no_devices", "The selector means no device.")
    assigned: list[int] = []
    for number, wave in enumerate(waves):
        size = int(wave["count"]) if wave.get("count") else -int(-devices * wave["ratio"] // 1)
        assigned += [number] * min(size, devices - len(assigned))
    return assigned + [len(waves) - 1] * (devices - len(assigned))


def next_step(opened: Sequence[WaveCounts], waves_total: int, error_ratio_limit: float) -> Step:
    """Decide by the waves that are open or done.

    Args:
        opened: In order; empty waves (no device left for them) count as done.
        waves_total: How many there are in all.
        error_ratio_limit: Share of a wave's devices that may fail, 0..1.
    """
    if any(wave.failed > wave.devices * error_ratio_limit for wave in opened):
        return Step.PAUSE
    if not all(wave.is_done for wave in opened):
        return Step.WAIT
    return Step.SUCCEED if len(opened) == waves_total else Step.OPEN_NEXT
