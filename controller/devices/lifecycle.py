"""The life of a device as one transition table, and what each state may do at the doors. Pure."""

from enum import StrEnum
from typing import Final

from controller.errors import Conflict, Forbidden


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


class Act(StrEnum):
    """What a device may ask of the doors."""

    ENROLL = "enroll"  # ask again how its enrolment stands
    CONNECT = "connect"  # be heard on MQTT, be given work
    RENEW = "renew"  # get a fresh certificate
    BLOBS = "blobs"  # fetch and upload artifacts


ALLOWED: Final[dict[DeviceState, frozenset[Act]]] = {
    DeviceState.PENDING: frozenset({Act.ENROLL}),
    DeviceState.ACTIVE: frozenset(Act),
    DeviceState.SUSPENDED: frozenset(),
    DeviceState.RETIRED: frozenset(),
}


def may(state: DeviceState, act: Act) -> bool:
    """Tell whether a device in this state may do that; both doors ask here.

    >>> may(DeviceState.ACTIVE, Act.BLOBS), may(DeviceState.PENDING, Act.CONNECT)
    (True, False)
    """
    return act in ALLOWED[state]


def require(state: DeviceState, act: Act, reason: str) -> None:
    """Refuse what a device may not do.

    Raises:
        Forbidden: `device.pending`, `device.suspended`, `device.retired`.
    """
    if not may(state, act):
        because = f" ({reason})" if reason else ""
        raise Forbidden(f"device.{state}", f"This device is {state}{because}; it may not {act}.")
