"""How much telemetry a device may send: a token bucket each, in this process's memory. Pure but for what it counts."""

from collections import OrderedDict
from typing import Final

_DAY_S: Final = 86_400.0
_TOLD_EVERY_S: Final = 60.0
_MOST_DEVICES: Final = 131_072  # about 40 MB; who is forgotten begins anew with a full bucket


class Bucket:
    """What a device may still send.

    Attributes:
        bytes: Left; never above a day's budget.
        at: When that was, on the monotonic clock.
        told_at: When the device was last told that it sends too much.
    """

    __slots__ = ("at", "bytes", "told_at")

    def __init__(self, full: float, at: float) -> None:
        self.bytes = full
        self.at = at
        self.told_at = -_TOLD_EVERY_S


class Budget:
    """The buckets of all devices that speak through this process.

    A device may send a day's worth at once, as it does after a time without a network, and then only what flows in.

    Args:
        bytes_per_day: For each device, envelopes included.
    """

    def __init__(self, bytes_per_day: float) -> None:
        self._full = bytes_per_day
        self._rate = bytes_per_day / _DAY_S
        self._buckets: OrderedDict[int, Bucket] = OrderedDict()

    def spend(self, device: int, size: int, at: float) -> bool:
        """Take a message of `size` bytes from a device's budget; False where it is beyond it.

        >>> budget = Budget(100.0)
        >>> [budget.spend(1, 60, 0.0), budget.spend(1, 60, 0.0), budget.spend(2, 60, 0.0)]
        [True, False, True]
        >>> budget.spend(1, 60, 86_400.0)
        True
        """
        bucket = self._buckets.get(device)
        if bucket is None:
            bucket = self._buckets[device] = Bucket(self._full, at)
            if len(self._buckets) > _MOST_DEVICES:
                self._buckets.popitem(last=False)
        left = min(self._full, bucket.bytes + (at - bucket.at) * self._rate)
        bucket.at = at
        if left < size:
            bucket.bytes = left
            return False
        bucket.bytes = left - size
        return True

    def shall_tell(self, device: int, at: float) -> bool:
        """Tell whether the device shall be answered that it sends too much: at most once a minute."""
        bucket = self._buckets[device]
        if at - bucket.told_at < _TOLD_EVERY_S:
            return False
        bucket.told_at = at
        return True
