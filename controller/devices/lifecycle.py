"""The life of a device as one transition table. Pure."""

from enum import StrEnum
from typing import Final

from controller.errors import Conflict


class DeviceState(StrEnum):
    """Where a device stands with its operator."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    RETIRED = "retired"


TRANSITIONS: Final[dict[DeviceState, frozenset[DeviceState]]] = {
    DeviceState.PENDING: frozenset({DeviceState.ACTIVE, DeviceState.RETIRED}),
    DeviceState.ACTIVE: frozenset({DeviceState.SUSPENDED, DeviceState.RETIRED}),
    DeviceState.SUSPENDED: frozenset({DeviceState.ACTIVE, DeviceState.RETIRED}),
    DeviceState.RETIRED: frozenset(),
}


def next_state(present: DeviceState, wanted: DeviceState) -> DeviceState:
    """Give `wanted` if a device may go there.

    Raises:
        Conflict: `device.illegal_transition`, with `from_state` and `to_state`.

    >>> next_state(DeviceState.ACTIVE, DeviceState.SUSPENDED).value
    'suspended'
    """
    if wanted not in TRANSITIONS[present]:
        raise Conflict(
            "device.illegal_transition",
            f"A device that is {present} cannot become {wanted}.",
            from_state=present.value,
            to_state=wanted.value,
        )
    return wanted


def may_connect(state: DeviceState) -> bool:
    """Tell whether both doors listen to a device in this state."""
    return state is DeviceState.ACTIVE
