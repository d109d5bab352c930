"""Forgetting what nobody needs: artifacts that no row names, logs that were collected long ago, uploads that broke off.

Above the rooms, as what names an artifact stands in all of them. Rows go first, then bytes that have no row: a kill
between the two leaves bytes, which the next look finds. Both have a grace, so that what was uploaded and is not used
yet, or was made by a worker and is not a row yet, stays.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import Select, String, cast, delete, or_, select
from sqlalchemy.orm import Session

from controller.artifacts.tables import ArtifactRow
from controller.blobs import BlobStore
from controller.db import Base, Database
from controller.executions.states import ExecutionState, is_end
from controller.executions.tables import ExecutionRow
from controller.jobs.states import JobState
from controller.jobs.tables import JobRow, TrialRow

_BATCH: Final = 500  # rows forgotten in one transaction
_OPEN_JOBS: Final = (JobState.QUEUED.value, JobState.RUNNING.value)
_OPEN_WORK: Final = tuple(state.value for state in ExecutionState if not is_end(state))


def collect(database: Database, blobs: BlobStore, *, grace: timedelta, logs_kept: timedelta, now: datetime) -> int:
    """Forget what nobody needs; gives how many artifacts went.

    Args:
        grace: How long an artifact may be named by nothing.
        logs_kept: How long the logs that devices sent can be read.
    """
    forgotten = 0
    while True:
        with database.transaction() as session:
            count = forget_rows(session, before=now - grace, logs_before=now - logs_kept)
        forgotten += count
        if count < _BATCH:
            break
    for some in _batches(blob.sha256 for blob in blobs.every() if blob.changed_at < now - grace):
        with database.reading() as session:
            named = set(session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.sha256.in_(some))))
        for sha256 in some:
            if sha256 not in named:
                blobs.forget(sha256)
    return forgotten


def _batches(digests: Iterable[str]) -> Iterator[list[str]]:
    left = iter(digests)
    while some := list(islice(left, _BATCH)):
        yield some


def forget_rows(session: Session, *, before: datetime, logs_before: datetime) -> int:
    """Delete rows of artifacts that came before a time and that nothing names; gives how many."""
    query = select(ArtifactRow.sha256).where(ArtifactRow.renewed_at < before)
    for named in _naming(logs_before):
        query = query.where(ArtifactRow.sha256.not_in(named))
    candidates = set(session.scalars(query.order_by(ArtifactRow.renewed_at).limit(_BATCH)))
    forgotten = [sha256 for sha256 in candidates if not _is_mentioned(session, sha256)]
    # A row that another transaction begins to name now makes this one fail, by its foreign key; the next look is right.
    session.execute(delete(ArtifactRow).where(ArtifactRow.sha256.in_(forgotten)))
    return len(forgotten)


def _naming(logs_before: datetime) -> Iterator[Select[Any]]:
    """Give queries of the digests that are named: by every foreign key that there is, and by logs."""
    artifacts = ArtifactRow.__table__
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column.table is artifacts:
                yield select(key.parent).where(key.parent.is_not(None))
    log = ExecutionRow.result["log"]["sha256"].as_string()
    yield select(log).where(log.is_not(None), ExecutionRow.finished_at >= logs_before)


def _is_mentioned(session: Session, sha256: str) -> bool:
    """Tell whether work that has not ended names a digest somewhere in its JSON."""
    jobs = select(JobRow.id).where(
        JobRow.state.in_(_OPEN_JOBS),
        or_(*(cast(column, String).contains(sha256) for column in (JobRow.spec, JobRow.kept))),
    )
    trials = (
        select(TrialRow.id)
        .join(JobRow, JobRow.id == TrialRow.job_id)
        .where(JobRow.state.in_(_OPEN_JOBS), cast(TrialRow.artifacts, String).contains(sha256))
    )
    work = select(ExecutionRow.id).where(
        ExecutionRow.state.in_(_OPEN_WORK), cast(ExecutionRow.spec, String).contains(sha256)
    )
    return any(session.scalar(query.limit(1)) is not None for query in (jobs, trials, work))
