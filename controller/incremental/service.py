"""Learning alone as rows: policies that devices watch by, evidence that starts an update, and what a device learned.

An update is one execution of one device. What it gives is checked like a federated update, judged by `gate`, and
becomes a version where it is kept; whether that version is rolled out is for an operator.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import service as artifacts
from controller.artifacts.datasets import fitting_dataset
from controller.artifacts.fit import check_given_weights
from controller.artifacts.lineage import VersionSource
from controller.artifacts.tables import DatasetRow, VersionRow
from controller.artifacts.versions import Programs
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.devices import service as devices
from controller.devices.tables import DesiredRow, DeviceRow
from controller.errors import Conflict, Forbidden, Invalid, NotFound
from controller.executions import service as executions
from controller.executions.service import Work
from controller.executions.states import ExecutionState, is_end
from controller.executions.tables import ExecutionRow
from controller.incremental import gate
from controller.incremental.gate import Accuracies, UpdateState
from controller.incremental.tables import IncrementalUpdateRow, PolicyRow
from controller.incremental.triggers import Situation, obstacle
from controller.jobs import service as jobs
from shoal.schemas.incremental import LearningSettings, PolicyRequest
from shoal.wire.devices import ArtifactRef
from shoal.wire.executions import ExecutionKind
from shoal.wire.incremental import DriftMonitor, Evidence, IncrementalUpdateResult, IncrementalUpdateSpec
from shoal.wire.rollouts import Desired, SlotState

_SENT_TIMEOUT_S: Final = 60.0
_MAX_MONITORS: Final = 32  # as in the desired document
_MAX_NEW_SAMPLES: Final = 1_000_000
_EVALUATION_SHARE: Final = 5  # every fifth new sample measures instead of being learned
_ENDS: Final = [state.value for state in ExecutionState if is_end(state)]


def create_policy(session: Session, request: PolicyRequest, actor: str) -> PolicyRow:
    """Make the selected devices watch a model; a monitor of that model that they have already is replaced.

    Raises:
        NotFound: `model.not_found`, `dataset.not_found`, `device.not_found`.
        Invalid: `dataset.shape_mismatch`, `incremental_policy.too_many_samples`, `incremental_policy.no_devices`, and
            what `devices.accept_selector` refuses.
        Conflict: `incremental_policy.too_many_monitors`.
    """
    model = artifacts.get_model(session, request.model)
    replay = fitting_dataset(session, model, request.replay_dataset)
    retention = fitting_dataset(session, model, request.retention_dataset)
    if request.learning.new_samples > _MAX_NEW_SAMPLES:
        message = f"A device waits for at most {_MAX_NEW_SAMPLES} new samples."
        raise Invalid("incremental_policy.too_many_samples", message)
    selector = devices.accept_selector(session, request.selector)
    selected = devices.select_by(session, selector)
    if not selected:
        raise Invalid("incremental_policy.no_devices", "The selector means no device.")
    row = PolicyRow(
        model=model.name,
        selector=selector,
        monitor=request.monitor.model_dump(),
        learning=request.learning.model_dump(),
        replay_dataset_id=replay.id,
        retention_dataset_id=retention.id,
        created_by=actor,
        created_at=utc_now(),
    )
    session.add(row)
    session.flush()
    monitor = DriftMonitor(policy_id=row.id, model=row.model, **row.monitor)

    def replace_monitor(desired: Desired) -> Desired:
        others = [other for other in desired.monitors if other.model != monitor.model]
        if len(others) >= _MAX_MONITORS:
            message = f"A device watches at most {_MAX_MONITORS} models."
            raise Conflict("incremental_policy.too_many_monitors", message)
        return msgspec.structs.replace(desired, monitors=[*others, monitor])

    for device in selected:
        devices.change_desired(session, device.id, replace_monitor)
    _retire_replaced(session, row)
    events.record(session, "incremental_policy.created", subject=row.id, data={"devices": len(selected)})
    return row


def on_evidence(session: Session, device: DeviceRow, evidence: Evidence, now: datetime) -> IncrementalUpdateRow | None:
    """Take a device's evidence; gives the update that it started. The same evidence again starts none.

    Raises:
        NotFound: `incremental_policy.not_found`, `version.not_found`.
        Forbidden: `evidence.not_monitored`, where the policy is not the device's.
        Invalid: `evidence.wrong_model`, `evidence.malformed`, `version.not_trainable`.
    """
    # The lock makes two of a device count one after the other.
    policy = session.get(PolicyRow, evidence.policy_id, with_for_update=True)
    if policy is None:
        raise NotFound("incremental_policy.not_found", "There is no such learning policy.")
    if evidence.model != policy.model:
        raise Invalid("evidence.wrong_model", f"This policy watches {policy.model}.")
    if policy.id not in _policies_of(devices.desired_of(session, device.id)):
        raise Forbidden("evidence.not_monitored", "This device does not watch by that policy.")
    _require_time(evidence.noticed_at)
    latest = _latest_update(session, device, policy.model)
    if latest is not None and (evidence.session, evidence.sequence) <= _place(latest):
        return None
    situation = Situation(
        drift_detected=evidence.drift_detected,
        is_policy_active=policy.is_active,
        can_train=bool(device.facts.get("can_train")),
        version=evidence.version,
        serving_version=_serving_version(device, policy.model),
        has_open_update=latest is not None and latest.state == UpdateState.LEARNING,
        last_finished_at=None if latest is None else latest.finished_at,
    )
    reason = obstacle(situation, now)
    if not reason:
        return _begin(session, policy, device, evidence, now)
    if evidence.drift_detected:
        data = {"policy": policy.id, "reason": reason}
        events.record(session, "evidence.passed_over", subject=device.id, device_id=device.id, data=data)
    return None


def accept(
    session: Session, blobs: BlobStore, execution: ExecutionRow, result: Mapping[str, Any], now: datetime
) -> None:
    """Take what a device learned in an execution that is open and its own: the gate keeps or rejects it.

    Raises:
        Invalid: `update.malformed`, `update.too_large`.
        NotFound: `update.missing_artifact`.
        shoal.wire.errors.WireError: What is wrong with its tensors.
    """
    try:
        given = msgspec.convert(result, IncrementalUpdateResult)
    except msgspec.ValidationError as error:
        raise Invalid("update.malformed", f"The result is not an incremental update's: {error}") from error
    row = session.get_one(IncrementalUpdateRow, execution.owner_id, with_for_update=True)
    policy = session.get_one(PolicyRow, row.policy_id)
    base = artifacts.version_by_id(session, row.base_version_id)
    check_given_weights(session, blobs, sha256=given.update, base=artifacts.programs_of(base).weights)
    accuracies = Accuracies(
        old_before=given.old_before, old_after=given.old_after, new_before=given.new_before, new_after=given.new_after
    )
    verdict = gate.judge(accuracies, _learning(policy).max_old_accuracy_drop)
    row.result = msgspec.to_builtins(given)
    if verdict.state is UpdateState.KEPT:
        version = _keep(session, policy, base, row, given)
        row.result_version_id = version.id
    _end(session, row, verdict.state, verdict.message, now)


def advance(session: Session, now: datetime) -> None:
    """Fail the updates whose execution ended without a result."""
    query = (
        select(IncrementalUpdateRow, ExecutionRow)
        .join(ExecutionRow, ExecutionRow.id == IncrementalUpdateRow.execution_id)
        .where(IncrementalUpdateRow.state == UpdateState.LEARNING, ExecutionRow.state.in_(_ENDS))
        .with_for_update(of=IncrementalUpdateRow)
    )
    for row, execution in session.execute(query).all():
        message = f"{execution.message} [{execution.code or execution.state}]".strip()
        _end(session, row, UpdateState.FAILED, message, now)


def _begin(
    session: Session, policy: PolicyRow, device: DeviceRow, evidence: Evidence, now: datetime
) -> IncrementalUpdateRow:
    base = artifacts.get_version(session, policy.model, evidence.version)
    programs = artifacts.programs_of(base)
    row = IncrementalUpdateRow(
        policy_id=policy.id,
        device_id=device.id,
        base_version_id=base.id,
        state=UpdateState.LEARNING,
        evidence=msgspec.to_builtins(evidence),
        result={},
        created_at=now,
    )
    session.add(row)
    session.flush()
    learning = _learning(policy)
    work = Work(
        kind=ExecutionKind.INCREMENTAL_UPDATE,
        device_id=device.id,
        owner_id=row.id,
        spec=msgspec.to_builtins(_spec(session, policy, learning, programs, evidence)),
        sent_timeout_s=_SENT_TIMEOUT_S,
        progress_timeout_s=learning.timeout_s,
    )
    row.execution_id = executions.create(session, work).id
    data = {"policy": policy.id, "version": evidence.version, "index": evidence.population_stability_index}
    events.record(session, "incremental_update.started", subject=row.id, device_id=device.id, data=data)
    return row


def _spec(
    session: Session, policy: PolicyRow, learning: LearningSettings, programs: Programs, evidence: Evidence
) -> IncrementalUpdateSpec:
    return IncrementalUpdateSpec(
        policy_id=policy.id,
        model=policy.model,
        version=evidence.version,
        train_program=_ref(session, programs.train_program),
        eval_program=_ref(session, programs.eval_program),
        weights=_ref(session, programs.weights),
        replay=_ref(session, session.get_one(DatasetRow, policy.replay_dataset_id).sha256),
        retention=_ref(session, session.get_one(DatasetRow, policy.retention_dataset_id).sha256),
        since=evidence.noticed_at,
        evaluation_samples=learning.new_samples // _EVALUATION_SHARE,
        **learning.model_dump(exclude={"max_old_accuracy_drop", "timeout_s"}),
    )


def _keep(
    session: Session,
    policy: PolicyRow,
    base: VersionRow,
    row: IncrementalUpdateRow,
    given: IncrementalUpdateResult,
) -> VersionRow:
    replay = session.get_one(DatasetRow, policy.replay_dataset_id)
    retention = session.get_one(DatasetRow, policy.retention_dataset_id)
    version = artifacts.create_version(
        session,
        model=base.model,
        train_program=base.train_program,
        eval_program=base.eval_program,
        weights=given.update,
        source=VersionSource.INCREMENTAL,
        parent_id=base.id,
        lineage={
            "device": row.device_id,
            "policy": policy.id,
            "update": row.id,
            "evidence": row.evidence,
            "result": row.result,
            "datasets": {
                "training": policy.learning["dataset"],
                "replay": replay.name,
                "retention": retention.name,
            },
            "learning": policy.learning,
        },
        actor=policy.created_by,
    )
    spec = {
        "weights": version.weights,
        "program": version.eval_program,
        "dataset": retention.sha256,
        "dataset_id": retention.id,
    }
    jobs.create(
        session, kind="evaluate", subject=f"{version.model}/{version.number}", spec=spec, actor=policy.created_by
    )
    return version


def _end(session: Session, row: IncrementalUpdateRow, state: UpdateState, message: str, now: datetime) -> None:
    row.state, row.message, row.finished_at = state, message, now
    session.flush()
    data = {"state": state.value}
    events.record(session, "incremental_update.finished", subject=row.id, device_id=row.device_id, data=data)


def _retire_replaced(session: Session, new: PolicyRow) -> None:
    """Make the model's policies inactive by which no device watches any more."""
    session.flush()
    watched = {policy_id for desired in session.scalars(select(DesiredRow)) for policy_id in _policies_of(desired)}
    for policy in session.scalars(select(PolicyRow).where(PolicyRow.model == new.model, PolicyRow.is_active.is_(True))):
        policy.is_active = policy.id in watched


def _policies_of(desired: DesiredRow) -> set[str]:
    return {monitor.policy_id for monitor in msgspec.convert(desired.body, Desired).monitors}


def _latest_update(session: Session, device: DeviceRow, model: str) -> IncrementalUpdateRow | None:
    return session.scalar(
        select(IncrementalUpdateRow)
        .join(PolicyRow, PolicyRow.id == IncrementalUpdateRow.policy_id)
        .where(IncrementalUpdateRow.device_id == device.id, PolicyRow.model == model)
        .order_by(IncrementalUpdateRow.id.desc())
        .limit(1)
    )


def _place(row: IncrementalUpdateRow) -> tuple[int, int]:
    """Give the place of an update's evidence among what its device said."""
    return row.evidence["session"], row.evidence["sequence"]


def _serving_version(device: DeviceRow, model: str) -> int | None:
    for slot in device.reported.get("slots", []):
        if slot["model"] == model and slot["state"] == SlotState.SERVING:
            return int(slot["version"])
    return None


def _require_time(text: str) -> None:
    try:
        is_aware = datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        is_aware = False
    if not is_aware:
        raise Invalid("evidence.malformed", "noticed_at is an ISO 8601 time with its offset.")


def _learning(policy: PolicyRow) -> LearningSettings:
    return LearningSettings.model_validate(policy.learning)


def _ref(session: Session, sha256: str) -> ArtifactRef:
    return ArtifactRef(sha256=sha256, size_bytes=artifacts.get_artifact(session, sha256).size_bytes)
