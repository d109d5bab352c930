"""How one virtual device's luck turns out: durations, and what fails by which name."""

import random
from typing import Final

from agent.errors import AgentError
from agent.executions import NeverDone
from agent.simulator.profile import Profile

_SPREAD: Final = 0.35  # sigma of the log-normal distribution of durations
# What real agents say, and how often of ten.
_TRIALS: Final = (
    ("golden.failed", 5, "62% of the golden set came out as expected."),
    ("model.not_loadable", 2, "The runtime does not load this model: an operator is not supported."),
    ("process.crashed", 2, "The process ended with status -9 (out of memory?)."),
    ("process.hung", 1, "The process did not answer in 120 s."),
)
_TRAININGS: Final = (
    ("process.crashed", 6, "The process ended with status -9 (out of memory?)."),
    ("program.failed", 3, "The training program ended: the loss is no finite number."),
    ("dataset.malformed", 1, "shard-0007.safetensors is damaged."),
)
_REJECTIONS: Final = (
    ("dataset.not_found", 7, "This device has no such data set."),
    ("training.not_available", 3, "PyTorch is not installed on this device."),
)


class Chances:
    """The luck of one device at its work."""

    def __init__(self, profile: Profile, luck: random.Random) -> None:
        self._profile = profile
        self._luck = luck

    def duration_s(self, median_s: float) -> float:
        """Draw a duration."""
        return median_s * self._luck.lognormvariate(0, _SPREAD)

    def happens(self, ratio: float) -> bool:
        """Draw whether something happens that does so with this probability."""
        return self._luck.random() < ratio

    def trial(self) -> None:
        """Let a trial of a variant fail, now and then.

        Raises:
            AgentError: It failed.
        """
        self._fail(_TRIALS, self._profile.failure_ratio)

    def training(self) -> None:
        """Let training fail, or be rejected, now and then.

        Raises:
            NeverDone: It is rejected.
            AgentError: It failed.
        """
        if self.happens(self._profile.rejection_ratio):
            code, message = self._choose(_REJECTIONS)
            raise NeverDone(code, message)
        self._fail(_TRAININGS, self._profile.failure_ratio)

    def command(self, name: str) -> None:
        """Let a command fail, now and then.

        Raises:
            AgentError: It failed.
        """
        self._fail(((f"command.{name}_failed", 1, "It did not work this time."),), self._profile.failure_ratio)

    def number(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return self._luck.randint(low, high)

    def around(self, middle: float, spread: float) -> float:
        """Draw a figure."""
        return self._luck.gauss(middle, spread)

    def _fail(self, ways: tuple[tuple[str, int, str], ...], ratio: float) -> None:
        if self.happens(ratio):
            code, message = self._choose(ways)
            raise AgentError(code, message)

    def _choose(self, ways: tuple[tuple[str, int, str], ...]) -> tuple[str, str]:
        code, _, message = self._luck.choices(ways, [weight for _, weight, _ in ways])[0]
        return code, message
