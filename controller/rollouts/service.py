"""Rollouts as rows: who moves when, to which variant; and what a receipt proves.

A step is an execution that rides in the device's desired document. It succeeds on a receipt, never on a download.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import service as artifacts
from controller.artifacts.tables import VariantRow, VersionRow
from controller.db import utc_now
from controller.devices import service as devices
from controller.devices.tables import DeviceRow, ReceiptRow
from controller.errors import Conflict, Invalid, NotFound
from controller.executions import service as executions
from controller.executions.service import Work
from controller.executions.states import ExecutionState, is_end
from controller.executions.tables import ExecutionRow
from controller.profiles import service as profiles
from controller.profiles.desired import desired_variant
from controller.profiles.fitting import Fitting
from controller.profiles.resolver import Limits
from controller.rollouts import waves
from controller.rollouts.tables import RolloutRow, RolloutTargetRow
from controller.rollouts.waves import RolloutState, Step, WaveCounts
from shoal.schemas.rollouts import Rollout, RolloutRequest, RolloutTarget, Wave
from shoal.wire.executions import ExecutionKind
from shoal.wire.rollouts import Desired, DesiredVariant, Receipt

_SENT_TIMEOUT_S: Final = 120.0
_PROGRESS_TIMEOUT_S: Final = 600.0  # a download reports each few seconds; a trial may load a large model


def create(session: Session, request: RolloutRequest, actor: str) -> RolloutRow:
    """Plan a rollout: each selected device gets its wave and the variant that fits it.

    Raises:
        NotFound: `version.not_found`, `device.not_found`.
        Invalid: `rollout.no_variants`, `rollout.no_fitting_variant`, `rollout.no_devices`, and what
            `devices.accept_selector` refuses.
        Conflict: `rollout.devices_busy`, where another rollout of the model is moving a selected device.
    """
    version = artifacts.get_version(session, request.model, request.version)
    variants = artifacts.list_variants(session, version.id)
    if not variants:
        message = f"Version {version.number} of {version.model} has no variant yet; compress it first."
        raise Invalid("rollout.no_variants", message)
    selector = devices.accept_selector(session, request.selector)
    selected = devices.select_by(session, selector)
    chosen = Fitting(session, variants).choose(selected, Limits(max_accuracy_drop=request.accuracy_drop_limit))
    without = [device_id for device_id, variant in chosen.items() if variant is None]
    if without:
        raise Invalid(
            "rollout.no_fitting_variant",
            f"No variant of {version.model}/{version.number} fits {len(without)} of {len(selected)} devices: "
            f"{', '.join(without[:5])}. `shoal models explain` says why.",
            devices=without[:100],
        )
    _refuse_busy(session, version, list(chosen))
    # Ready devices first, so that the canary is one that can answer.
    ordered = sorted(selected, key=lambda device: (not device.online, device.id))
    numbers = waves.assign_waves(len(ordered), [wave.model_dump(exclude_none=True) for wave in request.waves])
    row = RolloutRow(
        version_id=version.id,
        state=RolloutState.RUNNING,
        selector=selector,
        waves=[wave.model_dump(exclude_none=True) for wave in request.waves],
        wave=-1,
        error_ratio_limit=request.error_ratio_limit,
        created_by=actor,
        created_at=utc_now(),
    )
    session.add(row)
    session.flush()
    for device, number in zip(ordered, numbers, strict=True):
        variant = chosen[device.id]
        assert variant is not None
        session.add(RolloutTargetRow(rollout_id=row.id, device_id=device.id, wave=number, variant_id=variant.id))
    session.flush()
    events.record(session, "rollout.created", subject=row.id, data={"devices": len(ordered)})
    return row


def advance(session: Session, now: datetime) -> None:
    """Take every running rollout as far as the evidence allows."""
    for row in session.scalars(select(RolloutRow).where(RolloutRow.state == RolloutState.RUNNING).with_for_update()):
        _advance(session, row, now)


def cancel(session: Session, row: RolloutRow, now: datetime) -> None:
    """Stop a rollout: open steps are cancelled, devices stay where they are.

    Raises:
        Conflict: `rollout.ended`.
    """
    if row.state not in (RolloutState.RUNNING, RolloutState.PAUSED):
        raise Conflict("rollout.ended", f"This rollout is {row.state} already.", state=row.state)
    for _, execution in _targets(session, row):
        if execution is not None:
            executions.cancel(session, execution, now)
    _end(session, row, RolloutState.CANCELED, "Cancelled by an operator.", now)


def on_receipt(session: Session, device: DeviceRow, receipt: Receipt, now: datetime) -> None:
    """Let a receipt end the step that it answers; one that answers none changes nothing.

    Raises:
        NotFound: `execution.not_found`, for a step of another device.
    """
    execution = session.get(ExecutionRow, receipt.execution_id, with_for_update=True)
    if execution is not None and execution.device_id != device.id:
        raise NotFound("execution.not_found", "There is no such execution of this device.")
    if execution is None or is_end(ExecutionState(execution.state)):
        return
    target = session.scalar(select(RolloutTargetRow).where(RolloutTargetRow.execution_id == execution.id))
    if target is None:
        return
    variant = session.get_one(VariantRow, target.variant_id)
    code, message = _fault(variant, receipt)
    if code == "receipt.golden_failed":
        profiles.note_golden_failure(session, execution, variant.id, now)
    state = ExecutionState.FAILED if code else ExecutionState.SUCCEEDED
    executions.finish(session, execution, state, code=code, message=message, now=now)


def on_golden_failure(session: Session, execution: ExecutionRow, now: datetime) -> None:
    """Remember for its hardware class that a variant's golden set failed where it should have served."""
    target = session.scalar(select(RolloutTargetRow).where(RolloutTargetRow.execution_id == execution.id))
    if target is not None:
        profiles.note_golden_failure(session, execution, target.variant_id, now)


def summary(session: Session, row: RolloutRow) -> Rollout:
    """Give a rollout with its progress."""
    version = artifacts.version_by_id(session, row.version_id)
    found = _targets(session, row)
    shown = [_wave(row, number, found) for number in range(len(row.waves))]
    counts = Counter(execution.state for _, execution in found if execution is not None)
    succeeded = counts[ExecutionState.SUCCEEDED]
    failed = sum(count for state, count in counts.items() if is_end(ExecutionState(state))) - succeeded
    return Rollout(
        id=row.id,
        model=version.model,
        version=version.number,
        state=row.state,
        selector=row.selector,
        waves=shown,
        devices=len(found),
        succeeded=succeeded,
        failed=failed,
        message=row.message,
        created_by=row.created_by,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def targets(session: Session, row: RolloutRow) -> list[RolloutTarget]:
    """Give the devices of a rollout with their variant and how far each is."""
    variants = {variant.id: variant for variant in artifacts.list_variants(session, row.version_id)}
    found = _targets(session, row)
    ids = [execution.id for _, execution in found if execution is not None]
    receipts = {
        receipt.execution_id: receipt.id
        for receipt in session.scalars(select(ReceiptRow).where(ReceiptRow.execution_id.in_(ids)))
    }
    return [_target(target, execution, variants[target.variant_id], receipts) for target, execution in found]


def _advance(session: Session, row: RolloutRow, now: datetime) -> None:
    while row.state == RolloutState.RUNNING:
        found = _targets(session, row)
        opened = [_counts(number, found) for number in range(row.wave + 1)]
        step = waves.next_step(opened, len(row.waves), row.error_ratio_limit)
        if step is Step.OPEN_NEXT:
            row.wave += 1
            _open_wave(session, row, [target for target, _ in found if target.wave == row.wave])
        elif step is Step.PAUSE:
            row.state = RolloutState.PAUSED
            row.message = f"Wave {row.wave + 1} has more failed devices than the limit of {row.error_ratio_limit:.0%}."
            events.record(session, "rollout.paused", subject=row.id)
        elif step is Step.SUCCEED:
            _end(session, row, RolloutState.SUCCEEDED, "", now)
        else:
            return


def _open_wave(session: Session, row: RolloutRow, members: Sequence[RolloutTargetRow]) -> None:
    version = artifacts.version_by_id(session, row.version_id)
    model = artifacts.get_model(session, version.model)
    for target in members:
        execution = executions.create(
            session,
            Work(
                kind=ExecutionKind.ROLLOUT_STEP,
                device_id=target.device_id,
                owner_id=row.id,
                spec={},
                sent_timeout_s=_SENT_TIMEOUT_S,
                progress_timeout_s=_PROGRESS_TIMEOUT_S,
            ),
        )
        target.execution_id = execution.id
        variant = session.get_one(VariantRow, target.variant_id)
        wanted = desired_variant(session, model, version, variant, execution_id=execution.id)

        def replace_variant(desired: Desired, wanted: DesiredVariant = wanted) -> Desired:
            others = [other for other in desired.variants if other.model != wanted.model]
            return msgspec.structs.replace(desired, variants=[*others, wanted])

        devices.change_desired(session, target.device_id, replace_variant)
    session.flush()
    events.record(session, "rollout.wave_opened", subject=row.id, data={"wave": row.wave + 1, "devices": len(members)})


def _fault(variant: VariantRow, receipt: Receipt) -> tuple[str, str]:
    """Say what a receipt does not prove; two empty strings where it proves the step."""
    if receipt.is_fallback:
        return "receipt.fallback", "The device fell back to what it ran before."
    if receipt.variant_id != variant.id or receipt.sha256 != variant.sha256:
        return "receipt.digest_mismatch", "The device runs other bytes than those that were rolled out."
    if not receipt.golden.passed:
        return "receipt.golden_failed", f"Only {receipt.golden.agreement:.0%} of the golden set came out as expected."
    return "", ""


def _refuse_busy(session: Session, version: VersionRow, device_ids: list[str]) -> None:
    busy = session.scalar(
        select(RolloutTargetRow.device_id)
        .join(RolloutRow, RolloutRow.id == RolloutTargetRow.rollout_id)
        .join(VersionRow, VersionRow.id == RolloutRow.version_id)
        .where(
            RolloutRow.state.in_([RolloutState.RUNNING, RolloutState.PAUSED]),
            VersionRow.model == version.model,
            RolloutTargetRow.device_id.in_(device_ids),
        )
        .limit(1)
    )
    if busy is not None:
        raise Conflict("rollout.devices_busy", f"Another rollout of {version.model} is moving {busy}; cancel it first.")


def _end(session: Session, row: RolloutRow, state: RolloutState, message: str, now: datetime) -> None:
    row.state, row.message, row.finished_at = state, message, now
    events.record(session, "rollout.finished", subject=row.id, data={"state": state.value})


_Found = Sequence[tuple[RolloutTargetRow, ExecutionRow | None]]


def _targets(session: Session, row: RolloutRow) -> _Found:
    query = (
        select(RolloutTargetRow, ExecutionRow)
        .outerjoin(ExecutionRow, ExecutionRow.id == RolloutTargetRow.execution_id)
        .where(RolloutTargetRow.rollout_id == row.id)
        .order_by(RolloutTargetRow.wave, RolloutTargetRow.device_id)
    )
    return [(target, execution) for target, execution in session.execute(query)]


def _counts(number: int, found: _Found) -> WaveCounts:
    states = [execution.state if execution else "" for target, execution in found if target.wave == number]
    ended = [state for state in states if state and is_end(ExecutionState(state))]
    succeeded = ended.count(ExecutionState.SUCCEEDED)
    return WaveCounts(devices=len(states), succeeded=succeeded, failed=len(ended) - succeeded)


def _wave(row: RolloutRow, number: int, found: _Found) -> Wave:
    counts = _counts(number, found)
    states = Counter(
        execution.state if execution else "waiting" for target, execution in found if target.wave == number
    )
    if number > row.wave:
        state = "waiting"
    elif not counts.is_done:
        state = "running"
    else:
        state = "failed" if counts.failed > counts.devices * row.error_ratio_limit else "succeeded"
    return Wave(number=number + 1, state=state, devices=counts.devices, counts=dict(states))


def _target(
    target: RolloutTargetRow, execution: ExecutionRow | None, variant: VariantRow, receipts: dict[str, str]
) -> RolloutTarget:
    shown: dict[str, Any] = {
        "state": "waiting",
        "progress": 0.0,
        "waiting_for": {"code": "wave"},
        "code": "",
        "message": "",
    }
    if execution is not None:
        shown = {name: getattr(execution, name) for name in shown}
    return RolloutTarget(
        device_id=target.device_id,
        wave=target.wave + 1,
        variant_id=variant.id,
        recipe=variant.recipe,
        runtime=variant.runtime,
        execution_id=target.execution_id,
        receipt_id=receipts.get(target.execution_id or ""),
        **shown,
    )
