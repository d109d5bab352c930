"""Inspections as rows: an uploaded version is looked at by a job, and is ready or refused when that has ended."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from controller.artifacts import versions
from controller.artifacts.tables import ModelRow, VersionRow
from controller.errors import Invalid
from controller.jobs import service as jobs
from controller.jobs.states import JobState, is_end
from controller.jobs.tables import JobRow
from controller.jobs.work import Kind
from shoal.wire.models import Signature

INSPECT: Final = "inspect"
_PARTS: Final = ("format", "train_program", "eval_program", "weights", "file")


def start(session: Session, version: VersionRow, actor: str) -> JobRow:
    """Have a version looked at."""
    spec = {"version_id": version.id}
    return jobs.create(session, kind=INSPECT, subject=f"{version.model}/{version.number}", spec=spec, actor=actor)


def start_again(session: Session, version: VersionRow, actor: str) -> JobRow:
    """Have a version that was refused looked at once more: the toolchain is there now, or the sandbox is.

    Raises:
        Conflict: `version.not_refused`.
    """
    versions.check_again(session, version)
    return start(session, version, actor)


def settle(session: Session) -> None:
    """Judge the versions whose inspection has ended, however it did."""
    for version in versions.list_checking(session):
        job = session.scalar(
            select(JobRow)
            .where(JobRow.kind == INSPECT, JobRow.subject == f"{version.model}/{version.number}")
            .order_by(JobRow.id.desc())
            .limit(1)
        )
        if job is not None and is_end(JobState(job.state)):
            _judge(session, version, job)


def _judge(session: Session, version: VersionRow, job: JobRow) -> None:
    if job.state != JobState.SUCCEEDED:
        versions.refuse_version(session, version, job.code or f"job.{job.state}", job.message)
        return
    try:
        found = msgspec.convert(job.result["signature"], Signature)
        versions.pass_version(session, version, found, job.result["inspection"])
    except Invalid as error:
        versions.refuse_version(session, version, error.code, error.message)


def _prepare(session: Session, row: JobRow) -> Mapping[str, Any]:
    version = versions.version_by_id(session, row.spec["version_id"])
    model = session.get_one(ModelRow, version.model)
    return {"signature": model.signature or None, **{name: getattr(version, name) for name in _PARTS}}


def _keep(_session: Session, _row: JobRow, _trial: Mapping[str, Any]) -> None:
    """Nothing is found in parts: the job's result says all."""


KIND: Final = Kind(function="controller.compression.workers.inspect:inspect", prepare=_prepare, keep=_keep)
