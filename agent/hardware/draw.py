"""What the machine draws while something is done: by a rail's sensor, looked at again and again, or by the processor's
energy counters. Absent where neither is there.
"""

import time
from pathlib import Path

from agent.hardware import meters


class Draw:
    """Measures from its making on.

    Args:
        root: The root folder of the machine.
    """

    def __init__(self, *, root: Path = Path("/")) -> None:
        self._root = root
        self._began = time.monotonic()
        self._counters = meters.package_counters(root=root)
        self._seen_watts: list[float] = []
        self.look()

    def look(self) -> None:
        """Look at the rail's sensor; to be called some times a second."""
        watts = meters.rail_watts(root=self._root)
        if watts is not None:
            self._seen_watts.append(watts)

    def mean_watts(self) -> float | None:
        """Give the mean until now; whatever else ran is in it."""
        if self._seen_watts:
            return sum(self._seen_watts) / len(self._seen_watts)
        joules = meters.used_joules(self._counters, meters.package_counters(root=self._root))
        lasted_s = time.monotonic() - self._began
        return joules / lasted_s if joules is not None and lasted_s > 0 else None
