"""Federated runs as rows: rounds opened, closed, and made a version. What to do when is decided in `rounds`.

A round is one execution for each device of its cohort. It closes in two looks: `find_closing` reads which updates it
has, `updates.sum_up` averages them outside of any transaction, and `advance` closes the round if these still are its
updates. So it may be interrupted anywhere and done again, by this controller or the next.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import service as artifacts
from controller.artifacts.datasets import fitting_dataset
from controller.artifacts.lineage import VersionSource
from controller.artifacts.tables import DatasetRow, VersionRow
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.devices import service as devices
from controller.errors import Conflict, Invalid
from controller.executions import service as executions
from controller.executions.service import Work
from controller.executions.states import ExecutionState
from controller.executions.tables import ExecutionRow
from controller.federated.rounds import Decision, RoundState, RunState, Step, next_step
from controller.federated.snapshots import Standing, cohort_now, standing_of
from controller.federated.summary import summary
from controller.federated.tables import RoundRow, RunRow, UpdateRow
from controller.federated.updates import ClosingRound, Summed
from controller.jobs import service as jobs
from shoal.schemas.federated import FederatedRunRequest, TrainingSettings
from shoal.wire.devices import ArtifactRef
from shoal.wire.errors import WireError
from shoal.wire.executions import ExecutionKind
from shoal.wire.federated import FederatedRoundSpec
from shoal.wire.tensors import MAX_ABS_WEIGHT, check_update, decode_tensors

__all__ = ["advance", "cancel", "create", "find_closing", "summary"]

_SENT_TIMEOUT_S: Final = 60.0  # an agent accepts at once, even while its training process still starts


def create(session: Session, blobs: BlobStore, request: FederatedRunRequest, actor: str) -> RunRow:
    """Begin a run: its first round opens, and the version that it starts from is measured.

    Raises:
        NotFound: `model.not_found`, `version.not_found`, `dataset.not_found`, `device.not_found`.
        Conflict: `version.not_ready`.
        Invalid: `version.not_trainable`, `dataset.shape_mismatch`, `federated_run.unfit_weights`, what
            `devices.accept_selector` refuses, `federated_run.too_few_devices`, with the counts by reason in `left_out`.
    """
    model = artifacts.get_model(session, request.model)
    base = artifacts.ready_version(session, model.name, request.version)
    programs = artifacts.programs_of(base)
    dataset = fitting_dataset(session, model, request.evaluation_dataset)
    _require_averageable(blobs.read(programs.weights))
    selector = devices.accept_selector(session, request.selector)
    now = utc_now()
    run = RunRow(
        base_version_id=base.id,
        evaluation_dataset_id=dataset.id,
        state=RunState.RUNNING,
        selector=selector,
        settings=request.training.model_dump(),
        rounds_total=request.rounds,
        created_by=actor,
        created_at=now,
    )
    cohort = cohort_now(session, run)
    if len(cohort.device_ids) < request.training.min_updates:
        reasons = "".join(f", {count} {reason}" for reason, count in sorted(cohort.left_out.items()))
        raise Invalid(
            "federated_run.too_few_devices",
            f"A round needs {request.training.min_updates} devices; of those selected, "
            f"{len(cohort.device_ids)} can train now{reasons}.",
            left_out=dict(cohort.left_out),
        )
    session.add(run)
    session.flush()
    events.record(session, "federated_run.created", subject=run.id, data={"rounds": run.rounds_total})
    _measure(session, run, base, programs.weights, f"{base.model}/{base.number}")
    _advance(session, run, {}, now)
    return run


def cancel(session: Session, run: RunRow, now: datetime) -> None:
    """Stop a run: what is open is cancelled, closed rounds stay.

    Raises:
        Conflict: `federated_run.ended`.
    """
    session.refresh(run, with_for_update=True)
    if run.state != RunState.RUNNING:
        raise Conflict("federated_run.ended", f"This run is {run.state} already.", state=run.state)
    _give_up(session, run, RunState.CANCELED, Decision(Step.FAIL, message="Cancelled by an operator."), now)


def find_closing(session: Session, now: datetime) -> list[ClosingRound]:
    """Give the rounds that can close now; reads only."""
    found = []
    for run in session.scalars(select(RunRow).where(RunRow.state == RunState.RUNNING).order_by(RunRow.id)):
        seen = standing_of(session, run, is_locking=False)
        if seen.opened is not None and next_step(seen.snapshot, now).step is Step.CLOSE_ROUND:
            found.append(ClosingRound(round_id=seen.opened.id, updates=seen.updates))
    return found


def advance(session: Session, summed: Sequence[Summed], now: datetime) -> None:
    """Take every running run as far as it can go with the rounds that were summed up."""
    by_round = {one.closing.round_id: one for one in summed}
    query = select(RunRow).where(RunRow.state == RunState.RUNNING).order_by(RunRow.id).with_for_update()
    for run in session.scalars(query):
        _advance(session, run, by_round, now)


def _advance(session: Session, run: RunRow, summed: Mapping[str, Summed], now: datetime) -> None:
    while run.state == RunState.RUNNING:
        seen = standing_of(session, run, is_locking=True)
        decision = next_step(seen.snapshot, now)
        if decision.step is Step.OPEN_ROUND:
            _open_round(session, run, seen, now)
        elif decision.step is Step.CLOSE_ROUND and seen.opened is not None:
            done = summed.get(seen.opened.id)
            if done is None or done.closing.updates != seen.updates:
                return  # it is summed up at the next look
            if done.code:
                _give_up(session, run, RunState.FAILED, Decision(Step.FAIL, done.code, done.message), now)
            else:
                _close_round(session, run, seen.opened, done, now)
        elif decision.step is Step.SUCCEED:
            _succeed(session, run, seen, now)
        elif decision.step is Step.FAIL:
            _give_up(session, run, RunState.FAILED, decision, now)
        else:
            return


def _open_round(session: Session, run: RunRow, seen: Standing, now: datetime) -> None:
    programs = artifacts.programs_of(artifacts.version_by_id(session, run.base_version_id))
    row = RoundRow(
        run_id=run.id,
        number=seen.snapshot.rounds_closed + 1,
        state=RoundState.OPEN,
        cohort=list(seen.cohort.device_ids),
        weights=programs.weights if seen.latest is None or seen.latest.result is None else seen.latest.result,
        started_at=now,
    )
    session.add(row)
    session.flush()
    settings = TrainingSettings.model_validate(run.settings)
    program, weights = _ref(session, programs.train_program), _ref(session, row.weights)
    for device_id in seen.cohort.device_ids:
        spec = FederatedRoundSpec(
            run_id=run.id,
            round=row.number,
            train_program=program,
            weights=weights,
            dataset=settings.dataset,
            local_epochs=settings.local_epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            seed=seed_of(settings.seed, row.number, device_id),
            is_last_round=row.number == run.rounds_total,
        )
        work = Work(
            kind=ExecutionKind.FEDERATED_ROUND,
            device_id=device_id,
            owner_id=row.id,
            spec=msgspec.to_builtins(spec),
            sent_timeout_s=_SENT_TIMEOUT_S,
            progress_timeout_s=settings.round_timeout_s,
        )
        executions.create(session, work)
    data = {"round": row.number, "devices": len(seen.cohort.device_ids), "left_out": dict(seen.cohort.left_out)}
    events.record(session, "federated_round.opened", subject=run.id, data=data)


def seed_of(seed: int, number: int, device_id: str) -> int:
    """Give a device's seed in a round: differs by both, and is the same in a repetition.

    >>> seed_of(0, 1, "d-a") == seed_of(0, 1, "d-a") != seed_of(0, 2, "d-a")
    True
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}/{device_id}".encode()).digest()[:4])


def _close_round(session: Session, run: RunRow, row: RoundRow, done: Summed, now: datetime) -> None:
    artifacts.record_artifact(session, done.sha256, done.size_bytes, run.id)
    row.result = done.sha256
    row.message = _end_round(session, row, RoundState.CLOSED, now)
    base = artifacts.version_by_id(session, run.base_version_id)
    row.evaluation_job_id = _measure(session, run, base, done.sha256, f"{base.model}/{base.number} round {row.number}")
    session.flush()
    data = {"round": row.number, "updates": len(done.closing.updates)}
    events.record(session, "federated_round.closed", subject=run.id, data=data)


def _end_round(session: Session, row: RoundRow, state: RoundState, now: datetime) -> str:
    """End a round and what is open of it; says why devices of its cohort gave nothing."""
    codes: Counter[str] = Counter()
    for execution in session.scalars(select(ExecutionRow).where(ExecutionRow.owner_id == row.id).with_for_update()):
        executions.cancel(session, execution, now)
        if execution.state != ExecutionState.SUCCEEDED:
            codes[execution.code or execution.state] += 1
    row.state, row.closed_at = state, now
    return "No update: " + ", ".join(f"{count} {code}" for code, count in sorted(codes.items())) if codes else ""


def _give_up(session: Session, run: RunRow, state: RunState, why: Decision, now: datetime) -> None:
    message = why.message
    opened = session.scalar(select(RoundRow).where(RoundRow.run_id == run.id, RoundRow.state == RoundState.OPEN))
    if opened is not None:
        message = f"{message} {_end_round(session, opened, RoundState(state.value), now)}".strip()
        opened.message = message
    _end(session, run, state, message, now, code=why.code)


def _succeed(session: Session, run: RunRow, seen: Standing, now: datetime) -> None:
    assert seen.latest is not None and seen.latest.result is not None
    base = artifacts.version_by_id(session, run.base_version_id)
    given = session.execute(
        select(UpdateRow.device_id, UpdateRow.examples)
        .join(RoundRow, RoundRow.id == UpdateRow.round_id)
        .where(RoundRow.run_id == run.id)
    ).all()
    evaluation = session.get_one(DatasetRow, run.evaluation_dataset_id)
    version = artifacts.create_version(
        session,
        model=base.model,
        train_program=base.train_program,
        eval_program=base.eval_program,
        weights=seen.latest.result,
        source=VersionSource.FEDERATED,
        parent_id=base.id,
        lineage={
            "run": run.id,
            "rounds": run.rounds_total,
            "devices": sorted({device_id for device_id, _ in given}),
            "updates": len(given),
            "examples": sum(examples for _, examples in given),
            "datasets": {"training": run.settings["dataset"], "evaluation": evaluation.name},
            "training": run.settings,
        },
        actor=run.created_by,
    )
    run.result_version_id = version.id
    _end(session, run, RunState.SUCCEEDED, "", now)


def _end(session: Session, run: RunRow, state: RunState, message: str, now: datetime, code: str = "") -> None:
    run.state, run.message, run.finished_at = state, message, now
    session.flush()
    events.record(session, "federated_run.finished", subject=run.id, data={"state": state.value, "code": code})


def _measure(session: Session, run: RunRow, base: VersionRow, weights: str, subject: str) -> str | None:
    """Start the job that measures weights; None where they are measured already."""
    dataset = session.get_one(DatasetRow, run.evaluation_dataset_id)
    if artifacts.find_evaluation(session, weights, dataset.id) is not None:
        return None
    spec = {"weights": weights, "program": base.eval_program, "dataset": dataset.sha256, "dataset_id": dataset.id}
    return jobs.create(session, kind="evaluate", subject=subject, spec=spec, actor=run.created_by).id


def _require_averageable(weights: bytes) -> None:
    """Refuse at the start what no update could be averaged with."""
    try:
        arrays = decode_tensors(weights)
        check_update(arrays, arrays, max_abs=MAX_ABS_WEIGHT)
    except WireError as error:
        raise Invalid("federated_run.unfit_weights", f"The version's weights cannot be averaged: {error}") from error


def _ref(session: Session, sha256: str) -> ArtifactRef:
    return ArtifactRef(sha256=sha256, size_bytes=artifacts.get_artifact(session, sha256).size_bytes)
