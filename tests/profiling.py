"""What tests of profiles share: versions with variants that nobody made, devices with facts, answers that they give."""

from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.tables import DatasetRow, ModelRow, VersionRow
from controller.blobs import BlobStore
from controller.db import utc_now
from controller.devices.tables import DeviceRow
from controller.executions.tables import ExecutionRow
from controller.gateway.access import Context
from controller.gateway.executions import on_report
from controller.settings import Settings
from shoal.wire.executions import ExecutionKind, ExecutionReport, ReportState
from shoal.wire.profiles import ProfileResult
from shoal.wire.rollouts import GoldenResult
from tests.registry import signature_row, tensors_row
from tests.rows import add_device

PI4 = {"board": "Raspberry Pi 4 Model B Rev 1.4", "machine": "aarch64", "cpu_cores": 4, "memory_bytes": 4 * 2**30}
PI5 = {"board": "Raspberry Pi 5 Model B Rev 1.0", "machine": "aarch64", "cpu_cores": 4, "memory_bytes": 8 * 2**30}
SLOW = {"fp32_macs_per_s": 4e9, "int8_macs_per_s": 6e9, "memory_bytes_per_s": 2e9, "measured_at": ""}
FAST = {"fp32_macs_per_s": 16e9, "int8_macs_per_s": 24e9, "memory_bytes_per_s": 8e9, "measured_at": ""}


def add_machine(session: Session, device_id: str, facts: dict[str, Any], *runtimes: str, **others: Any) -> DeviceRow:
    """A device with facts and runtimes."""
    told = {**facts, "runtimes": dict.fromkeys(runtimes or ("onnxruntime",), "1")}
    return add_device(session, device_id, facts=told, **{"online": True, **others})


def add_version(session: Session, model: str = "linear", **others: Any) -> VersionRow:
    """A ready version of a model, which is made if it is not there."""
    named = {"created_at": utc_now(), "created_by": "test"}
    artifacts.record_artifact(session, "0" * 64, 1, "test")
    if session.get(ModelRow, model) is None:
        row = ModelRow(name=model, task="classification", signature=signature_row([4], 3), class_labels=["a"], **named)
        session.add(row)
        session.flush()
    number = session.query(VersionRow).filter_by(model=model).count() + 1
    parts = {"format": "program", "train_program": "0" * 64, "eval_program": "0" * 64, "weights": "0" * 64}
    version = VersionRow(
        **{"model": model, "number": number, "source": "uploaded", "lineage": {}, **parts, **named, **others}
    )
    session.add(version)
    session.flush()
    return version


def add_variant(session: Session, version: VersionRow, recipe: str, runtime: str, size: int, **others: Any) -> str:
    """A variant; gives its id."""
    columns = {
        "version_id": version.id,
        "recipe": recipe,
        "runtime": runtime,
        "sha256": "0" * 64,
        "golden_sha256": "0" * 64,
        "size_bytes": size,
        "accuracy": 0.9,
        "agreement": 1.0,
        "latency_p50_ms": 1.0,
        "samples": 10,
        "job_id": "",
    }
    return artifacts.add_variant(session, **{**columns, **others}).id


def add_datasets(session: Session) -> dict[str, str]:
    """Data sets for the linear model, by the names of a build policy's fields."""
    artifacts.record_artifact(session, "0" * 64, 1, "test")
    for role in ("calibration", "evaluation", "golden"):
        row = DatasetRow(name=role, role=role, sha256="0" * 64, samples=64, tensors=tensors_row([4]), created_by="test")
        row.created_at = utc_now()
        session.add(row)
    session.flush()
    return {f"{role}_dataset": role for role in ("calibration", "evaluation", "golden")}


def result(latency_ms: float, *, passed: bool = True, **others: Any) -> dict[str, Any]:
    """What a device measured."""
    golden = GoldenResult(samples=32, agreement=1.0 if passed else 0.5, max_abs_error=0.1, passed=passed)
    measured = ProfileResult(
        golden=golden,
        runtime_version="1",
        runs=200,
        threads=1,
        latency_p50_ms=latency_ms,
        latency_p95_ms=latency_ms * 1.2,
        latency_p99_ms=latency_ms * 1.5,
        load_s=0.1,
        peak_memory_bytes=10_000_000,
    )
    return {**msgspec.to_builtins(measured), **others}


def open_profiles(session: Session) -> list[ExecutionRow]:
    """The profile executions, the first wanted first."""
    query = select(ExecutionRow).where(ExecutionRow.kind == ExecutionKind.PROFILE).order_by(ExecutionRow.id)
    return list(session.scalars(query))


def answer(
    session: Session,
    execution: ExecutionRow,
    said: dict[str, Any],
    folder: Path,
    *,
    state: ReportState = ReportState.SUCCEEDED,
    code: str = "",
    sequence: int = 1,
) -> ExecutionRow:
    """A device's report comes through the gateway."""
    device = session.get_one(DeviceRow, execution.device_id)
    blobs = BlobStore(Settings(state=folder).blobs_at())
    context = Context(session=session, device=device, blobs=blobs, envelope=b"", now=utc_now())
    report = ExecutionReport(
        id=f"1-{sequence}",
        session=1,
        sequence=sequence,
        execution_id=execution.id,
        attempt=max(execution.attempt, 1),
        state=state,
        code=code,
        result=said,
    )
    on_report(context, report)
    session.flush()
    return execution
