"""How much one device does at a time. Pure.

Each kind of execution has a lane of its own, so that a ping does not wait for a training that takes an hour. Rollout
steps have none: they ride in the desired document, which the device follows one step at a time.
"""

from typing import Final

from shoal.wire.executions import ExecutionKind

# Open executions of a kind on one device. An incremental update mostly waits for data: one for each model it serves.
LIMITS: Final[dict[ExecutionKind, int]] = {
    ExecutionKind.FEDERATED_ROUND: 1,
    ExecutionKind.INCREMENTAL_UPDATE: 8,
    ExecutionKind.COMMAND: 4,
    ExecutionKind.PROFILE: 1,  # two at once would measure each other
}
_NO_LANE: Final = 1000  # at once; the others follow with the next look


def room(kind: ExecutionKind, busy: int) -> int:
    """Give how many more executions of a kind a device takes that has `busy` open ones.

    >>> room(ExecutionKind.COMMAND, 3), room(ExecutionKind.FEDERATED_ROUND, 2)
    (1, 0)
    """
    return max(LIMITS.get(kind, _NO_LANE + busy) - busy, 0)
