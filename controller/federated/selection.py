"""Who takes part in a round. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DeviceSnapshot:
    """What a decision about a device rests on; `can_train` is what its facts say."""

    id: str
    is_active: bool
    is_online: bool
    can_train: bool


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Who takes part, ordered by id; and how many do not, by reason."""

    device_ids: Sequence[str]
    left_out: Mapping[str, int]


def choose_cohort(devices: Sequence[DeviceSnapshot]) -> Cohort:
    """Take every device that can train now; one that is away would hold up the others.

    >>> away = DeviceSnapshot(id="d-a", is_active=True, is_online=False, can_train=True)
    >>> ready = DeviceSnapshot(id="d-b", is_active=True, is_online=True, can_train=True)
    >>> choose_cohort([away, ready])
    Cohort(device_ids=['d-b'], left_out={'offline': 1})
    """
    reasons = {device.id: _obstacle(device) for device in devices}
    return Cohort(
        device_ids=sorted(device_id for device_id, reason in reasons.items() if not reason),
        left_out=dict(Counter(reason for reason in reasons.values() if reason)),
    )


def _obstacle(device: DeviceSnapshot) -> str:
    if not device.is_active:
        return "not_active"
    if not device.can_train:
        return "cannot_train"
    return "" if device.is_online else "offline"
