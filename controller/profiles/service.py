"""Profiles: devices measure variants as executions, and what they measured is kept by hardware class.

Everything here may happen twice or late: the measurement that was asked for last stays, whatever comes last.
Not here: which variant follows from it (`resolver`, `fitting`), which board would serve (`advisor`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import service as artifacts
from controller.artifacts.tables import VariantRow, VersionRow
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.devices import service as devices
from controller.devices.hardware_class import class_of
from controller.devices.tables import DeviceRow
from controller.errors import Invalid, NotFound
from controller.executions import service as executions
from controller.executions.service import Work
from controller.executions.states import ExecutionState, is_end
from controller.executions.tables import ExecutionRow
from controller.profiles import fitting
from controller.profiles.desired import desired_variant
from controller.profiles.resolver import Limits
from controller.profiles.tables import ProfileRow, ProfilingRow
from shoal.schemas.profiles import Candidate, Explanation, Profile, ProfileRequest, Profiling
from shoal.wire.executions import ExecutionKind
from shoal.wire.profiles import ProfileResult, ProfileSpec

HISTORY: Final = 20  # measurements of a variant and a class that are remembered
_MAX_EXECUTIONS: Final = 100_000  # of one request
_SENT_TIMEOUT_S: Final = 120.0
_PROGRESS_TIMEOUT_S: Final = 1800.0  # for all of it: a slow board loads a large model, and infers it thousands of times
_EXPIRES_S: Final = 7 * 86_400.0


def create(session: Session, request: ProfileRequest, actor: str) -> ProfilingRow:
    """Have devices measure variants.

    Raises:
        NotFound: `version.not_found`, `variant.not_found`.
        Invalid: `profiling.no_variants`, `profiling.no_devices`, `profiling.nothing_fits`, `profiling.too_large`, and
            what `devices.accept_selector` refuses.
    """
    version = artifacts.get_version(session, request.model, request.version)
    variants = _wanted_variants(session, version, request.variants)
    selector = devices.accept_selector(session, request.selector)
    selected = devices.select_by(session, selector)
    if not selected:
        raise Invalid("profiling.no_devices", f"No active device is meant by {selector[:200]}.")
    pairs = list(_pairs(selected, variants, request.devices_per_class))
    if not pairs:
        raise Invalid("profiling.nothing_fits", f"None of the {len(selected)} devices offers a variant's runtime.")
    if len(pairs) > _MAX_EXECUTIONS:
        message = f"These are {len(pairs)} measurements; at most {_MAX_EXECUTIONS} are made at once."
        raise Invalid("profiling.too_large", message)
    return measure(session, version, pairs, selector=selector, runs=request.runs, actor=actor)


def measure(
    session: Session,
    version: VersionRow,
    pairs: Sequence[tuple[DeviceRow, VariantRow]],
    *,
    selector: str,
    runs: int,
    actor: str,
) -> ProfilingRow:
    """Have these devices measure these variants, an execution each."""
    model = artifacts.get_model(session, version.model)
    row = ProfilingRow(version_id=version.id, selector=selector, runs=runs, created_by=actor, created_at=utc_now())
    session.add(row)
    session.flush()
    specs: dict[str, dict[str, Any]] = {}
    for device, variant in pairs:
        if variant.id not in specs:
            wanted = ProfileSpec(variant=desired_variant(session, model, version, variant), runs=runs)
            specs[variant.id] = msgspec.to_builtins(wanted)
        work = Work(
            kind=ExecutionKind.PROFILE,
            device_id=device.id,
            owner_id=row.id,
            spec=specs[variant.id],
            sent_timeout_s=_SENT_TIMEOUT_S,
            progress_timeout_s=_PROGRESS_TIMEOUT_S,
            expires_in_s=_EXPIRES_S,
        )
        executions.create(session, work)
    events.record(session, "profiling.created", subject=row.id, data={"executions": len(pairs)})
    return row


def cancel(session: Session, row: ProfilingRow, now: datetime) -> None:
    """Stop what is open of a request; what was measured stays."""
    open_states = [state for state in ExecutionState if not is_end(state)]
    query = select(ExecutionRow).where(ExecutionRow.owner_id == row.id, ExecutionRow.state.in_(open_states))
    # Those that are not sent yet go first, so that ending one does not send the next.
    for execution in session.scalars(query.order_by(ExecutionRow.attempt).with_for_update()).all():
        executions.cancel(session, execution, now)


def accept(
    session: Session, _blobs: BlobStore, execution: ExecutionRow, result: Mapping[str, Any], now: datetime
) -> None:
    """Keep what a device measured.

    Raises:
        Invalid: `profile.malformed`, `profile.not_finite`, `profile.implausible`.
        NotFound: `variant.not_found`.
    """
    spec = msgspec.convert(execution.spec, ProfileSpec)
    try:
        measured = msgspec.convert(dict(result), ProfileResult)
    except msgspec.ValidationError as error:
        raise Invalid("profile.malformed", f"The answer is no profile: {error}") from error
    if not all(math.isfinite(figure) for figure in _numbers(msgspec.to_builtins(measured))):
        raise Invalid("profile.not_finite", "The answer has figures that are not finite.")
    ordered = measured.latency_p50_ms <= measured.latency_p95_ms <= measured.latency_p99_ms
    if not ordered or not measured.golden.samples or measured.load_s < 0 or measured.runs < spec.runs:
        message = "The percentiles are not in order, or fewer inferences were made than were asked for."
        raise Invalid("profile.implausible", message)
    _keep(session, execution, spec.variant.variant_id, measured, now)


def note_golden_failure(session: Session, execution: ExecutionRow, variant_id: str, now: datetime) -> None:
    """Remember that a variant's golden set failed on a device that should have served it: not for its class again."""
    _keep(session, execution, variant_id, None, now)


def explain(session: Session, version: VersionRow, device: DeviceRow, limits: Limits) -> Explanation:
    """Say which variant a device gets, and why not the others."""
    (alike,) = fitting.group([device])
    found = fitting.Fitting(session, artifacts.list_variants(session, version.id)).resolve(alike, limits)
    return Explanation(
        model=version.model,
        version=version.number,
        device_id=device.id,
        hardware_class=alike.hardware.digest,
        hardware=alike.hardware.words,
        chosen=None if found.chosen is None else found.chosen.id,
        candidates=[
            Candidate(
                variant_id=one.variant.id,
                recipe=one.variant.recipe,
                runtime=one.variant.runtime,
                code=one.code,
                reason=one.reason,
                size_bytes=one.variant.size_bytes,
                accuracy=one.variant.accuracy,
                latency_p50_ms=one.latency_ms,
                source=one.source,
            )
            for one in found.candidates
        ],
    )


def get_profiling(session: Session, profiling_id: str) -> ProfilingRow:
    """Give a request to measure.

    Raises:
        NotFound: `profiling.not_found`.
    """
    row = session.get(ProfilingRow, profiling_id)
    if row is None:
        raise NotFound("profiling.not_found", "There is no such request to measure.")
    return row


def profilings(session: Session, rows: Sequence[ProfilingRow]) -> list[Profiling]:
    """Give requests with how many of their executions are in each state."""
    ids = [row.id for row in rows]
    counts: dict[str, Counter[str]] = {row_id: Counter() for row_id in ids}
    query = select(ExecutionRow.owner_id, ExecutionRow.state, func.count()).where(ExecutionRow.owner_id.in_(ids))
    for row_id, state, count in session.execute(query.group_by(ExecutionRow.owner_id, ExecutionRow.state)):
        counts[row_id][state] = int(count)
    versions = _by_id(session, VersionRow, [row.version_id for row in rows])
    return [
        Profiling(
            id=row.id,
            model=versions[row.version_id].model,
            version=versions[row.version_id].number,
            selector=row.selector,
            executions=dict(counts[row.id]),
            created_by=row.created_by,
            created_at=row.created_at,
        )
        for row in rows
    ]


def profiles(session: Session, rows: Sequence[ProfileRow]) -> list[Profile]:
    """Give what was measured, with what it was measured of."""
    variants = _by_id(session, VariantRow, [row.variant_id for row in rows])
    versions = _by_id(session, VersionRow, [variant.version_id for variant in variants.values()])
    shown = []
    for row in rows:
        variant = variants[row.variant_id]
        version = versions[variant.version_id]
        shown.append(
            Profile(
                id=row.id,
                variant_id=variant.id,
                model=version.model,
                version=version.number,
                recipe=variant.recipe,
                runtime=variant.runtime,
                hardware_class=row.hardware_class,
                hardware=row.hardware,
                device_id=row.device_id,
                passed=row.passed,
                figures=row.figures,
                history=row.history,
                measured_at=row.measured_at,
            )
        )
    return shown


def _wanted_variants(session: Session, version: VersionRow, ids: Sequence[str]) -> list[VariantRow]:
    variants = artifacts.list_variants(session, version.id)
    if not variants:
        message = f"Version {version.number} of {version.model} has no variant yet; compress it first."
        raise Invalid("profiling.no_variants", message)
    if unknown := sorted(set(ids) - {variant.id for variant in variants}):
        raise NotFound("variant.not_found", f"{version.model}/{version.number} has no variant {unknown[0][:64]}.")
    return [variant for variant in variants if not ids or variant.id in ids]


def _pairs(
    selected: Sequence[DeviceRow], variants: Sequence[VariantRow], devices_per_class: int
) -> Iterator[tuple[DeviceRow, VariantRow]]:
    """Give who measures what: of each class the devices that are online first."""
    for alike in fitting.group(selected):
        able = [variant for variant in variants if variant.runtime in alike.runtimes]
        ordered = sorted(alike.devices, key=lambda device: (not device.online, device.id))
        for device in ordered[: devices_per_class or None]:
            for variant in able:
                yield device, variant


def _keep(
    session: Session, execution: ExecutionRow, variant_id: str, measured: ProfileResult | None, now: datetime
) -> None:
    """Keep a measurement; None: the golden set failed before anything was measured."""
    variant = session.get(VariantRow, variant_id, with_for_update=True)  # two devices of a class come one by one
    if variant is None:
        raise NotFound("variant.not_found", "There is no such variant any more.")
    device = session.get_one(DeviceRow, execution.device_id)
    hardware = class_of(device.facts)
    passed = measured is not None and measured.golden.passed
    entry = {
        "execution_id": execution.id,
        "device_id": device.id,
        "passed": passed,
        "latency_p50_ms": None if measured is None else measured.latency_p50_ms,
        "measured_at": now.isoformat(),
    }
    row = session.scalar(
        select(ProfileRow).where(ProfileRow.variant_id == variant.id, ProfileRow.hardware_class == hardware.digest)
    )
    if row is None:
        row = ProfileRow(variant_id=variant.id, hardware_class=hardware.digest, execution_id="", history=[])
        session.add(row)
    elif any(known["execution_id"] == execution.id for known in row.history):
        return
    row.history = sorted([entry, *row.history], key=lambda one: str(one["execution_id"]), reverse=True)[:HISTORY]
    if execution.id > row.execution_id:
        row.execution_id, row.device_id, row.passed, row.measured_at = execution.id, device.id, passed, now
        row.hardware = hardware.words
        row.latency_p50_ms = None if measured is None else measured.latency_p50_ms
        row.figures = {} if measured is None else msgspec.to_builtins(measured)
        row.rates = dict(device.facts.get("measured") or {})
    session.flush()
    data = {"variant_id": variant.id, "hardware_class": hardware.digest, "passed": passed}
    events.record(session, "profile.measured", subject=row.id, device_id=device.id, data=data)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, float):
        yield value


def _by_id(session: Session, table: Any, ids: Iterable[str]) -> dict[str, Any]:
    return {row.id: row for row in session.scalars(select(table).where(table.id.in_(set(ids))))}
