"""Messages about executions: one device's share of something that the controller wants done once."""

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from shoal.wire.devices import Count, LongText, MessageId, Ratio, ShortText

_MAX_RESULT_DEPTH: Final = 8


class ExecutionKind(StrEnum):
    """What an execution does. A rollout step travels inside the desired document, the others as offers."""

    ROLLOUT_STEP = "rollout_step"
    FEDERATED_ROUND = "federated_round"
    INCREMENTAL_UPDATE = "incremental_update"
    COMMAND = "command"
    PROFILE = "profile"


class ReportState(StrEnum):
    """What a device may say of an execution. `rejected`: it will never do it; `failed`: it tried."""

    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"


class Offer(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="offer"):
    """Do this once. Sent again with the same `execution_id` after a loss; the device answers from its journal.

    Attributes:
        type: An `ExecutionKind`; `spec` then is `FederatedRoundSpec`, `IncrementalUpdateSpec`, `CommandSpec` or
            `ProfileSpec`. Text, so that a device can reject a kind that it does not know.
        epoch, number: Grow with every offer to this device. One that does not grow is refused unless its execution is
            in the journal: whoever holds the broker could otherwise repeat an old command.
        timeout_s: Time from acceptance to the end, by the device's monotonic clock.
    """

    execution_id: ShortText
    type: ShortText
    attempt: Count
    epoch: Count
    number: Count
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=7 * 86400)]
    spec: msgspec.Raw


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="cancel"):
    """Stop this execution and forget it."""

    execution_id: ShortText


class ExecutionReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="execution_report"):
    """How an execution stands, signed. The last one of an execution is kept in the journal and sent again when asked.

    Attributes:
        attempt: The attempt it answers; an older attempt's report is ignored.
        progress: 0..1.
        code: For `failed` and `rejected`: stable and dotted, e.g. `artifact.digest_mismatch`.
        result: For `succeeded`: `FederatedRoundResult`, `IncrementalUpdateResult`, `ProfileResult` or a command's, as
            JSON.
    """

    id: MessageId
    session: Count
    sequence: Count
    execution_id: ShortText
    attempt: Count
    state: ReportState
    progress: Ratio = 0.0
    code: ShortText = ""
    message: LongText = ""
    result: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Refuse what could be read but not written again: a thousand brackets, one in the other.

        Raises:
            ValueError: `result` is nested too deeply.
        """
        layer: list[Any] = [self.result]
        for _ in range(_MAX_RESULT_DEPTH):
            inner = (one.values() if isinstance(one, dict) else one for one in layer if isinstance(one, dict | list))
            layer = [value for values in inner for value in values]
        if any(isinstance(one, dict | list) for one in layer):
            raise ValueError(f"the result has more than {_MAX_RESULT_DEPTH} levels")
