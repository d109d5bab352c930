"""MQTT about executions."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from controller import observe
from controller.blobs import BlobStore
from controller.errors import ShoalError
from controller.executions import commands
from controller.executions import service as executions
from controller.executions.service import Fault
from controller.executions.tables import ExecutionRow
from controller.federated import updates as federated
from controller.gateway.access import Context
from controller.incremental import service as incremental
from controller.profiles import service as profiles
from controller.rollouts import service as rollouts
from shoal.wire.errors import WireError
from shoal.wire.executions import ExecutionKind, ExecutionReport, ReportState

_GOLDEN_FAILED: Final = "golden.failed"  # as agents say it of a rollout step
_Accept = Callable[[Session, BlobStore, ExecutionRow, Mapping[str, Any], datetime], None]
_OWNERS: Final[dict[str, _Accept]] = {
    ExecutionKind.FEDERATED_ROUND: federated.accept,
    ExecutionKind.INCREMENTAL_UPDATE: incremental.accept,
    ExecutionKind.COMMAND: commands.accept,
    ExecutionKind.PROFILE: profiles.accept,
}


def on_report(context: Context, report: ExecutionReport) -> None:
    """A device said how an execution stands; what it gives is for the execution's owner to accept."""

    def judge(row: ExecutionRow) -> Fault | None:
        accept = _OWNERS.get(row.kind)
        if accept is None:
            return None
        try:
            with context.session.begin_nested():
                accept(context.session, context.blobs, row, report.result, context.now)
        except (ShoalError, WireError) as error:
            # A tensor's name is the device's own text: it may be long, or hold what no database keeps.
            text = "".join(letter if letter.isprintable() else "?" for letter in str(error)[:2000])
            fault = Fault(code=error.code, message=text)
            observe.count_refusal(
                context.session, door="mqtt", device_id=row.device_id, code=fault.code, message=fault.message
            )
            return fault
        return None

    row = executions.on_report(context.session, context.device, report, context.now, judge)
    if report.state is ReportState.FAILED and report.code == _GOLDEN_FAILED:
        rollouts.on_golden_failure(context.session, row, context.now)
