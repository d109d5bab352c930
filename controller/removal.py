"""Deleting what was registered, refused with the list while anything depends on it.

Above the rooms, because what depends on a version stands in all of them: what refers to a row is read off the tables'
foreign keys, so that no table is forgotten; what is named inside of JSON is listed here. Bytes go later (`collection`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import String, Table, cast, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controller import events
from controller.artifacts import service as artifacts
from controller.artifacts.lineage import VersionSource
from controller.artifacts.tables import DatasetRow, EvaluationRow, VariantRow, VersionRow
from controller.db import Base
from controller.devices.tables import DesiredRow
from controller.errors import Conflict
from controller.jobs.states import JobState
from controller.jobs.tables import JobRow

_MOST: Final = 50  # that are listed of each kind
_NAMED: Final = 5  # in the sentence
_KINDS: Final = {"rollout_targets": "rollout", "incremental_policies": "incremental policy"}
_OPEN: Final = (JobState.QUEUED.value, JobState.RUNNING.value)


@dataclass(frozen=True, kw_only=True)
class Dependent:
    """What depends on something: a version, a variant, a rollout, a run, a policy, a job, a device."""

    kind: str
    id: str
    title: str


def delete_model(session: Session, name: str) -> None:
    """Delete a model without versions.

    Raises:
        NotFound: `model.not_found`.
        Conflict: `model.in_use`, with `dependents`.
    """
    row = artifacts.get_model(session, name)
    found = [*_referring(session, row.__table__, name), *_jobs(session, JobRow.subject.startswith(f"{name}/"))]
    _delete(session, row, "model", name, found)


def delete_version(session: Session, model: str, number: int) -> None:
    """Delete a version, with what was measured of it.

    Raises:
        NotFound: `version.not_found`.
        Conflict: `version.in_use`, with `dependents`.
    """
    row = artifacts.get_version(session, model, number)
    subject = f"{model}/{number}"
    found = [
        *_referring(session, row.__table__, row.id),
        *_jobs(session, or_(JobRow.subject == subject, cast(JobRow.spec, String).contains(row.id))),
    ]
    _delete(session, row, "version", subject, found, before=lambda: _forget_evaluations(session, row))


def delete_variant(session: Session, variant_id: str) -> None:
    """Delete a variant.

    Raises:
        NotFound: `variant.not_found`.
        Conflict: `variant.in_use`, with `dependents`.
    """
    row = artifacts.get_variant(session, variant_id)
    desiring = session.scalars(
        select(DesiredRow.device_id).where(cast(DesiredRow.body, String).contains(row.id)).limit(_MOST)
    )
    found = [
        *_referring(session, row.__table__, row.id),
        *(Dependent(kind="device", id=device_id, title=f"a slot of {device_id}") for device_id in desiring),
        *_jobs(session, cast(JobRow.spec, String).contains(row.id)),
    ]
    _delete(session, row, "variant", variant_id, found)


def delete_dataset(session: Session, name: str) -> None:
    """Delete a data set.

    Raises:
        NotFound: `dataset.not_found`.
        Conflict: `dataset.in_use`, with `dependents`.
    """
    row = artifacts.get_dataset(session, name)
    found = [
        *_referring(session, row.__table__, row.id),
        *_made_with(session, row),
        *_jobs(session, cast(JobRow.spec, String).contains(row.id)),
    ]
    _delete(session, row, "dataset", row.name, found)


def _delete(
    session: Session, row: Base, noun: str, name: str, dependents: Sequence[Dependent], before: Any = None
) -> None:
    """Delete a row nothing depends on.

    Raises:
        Conflict: `<noun>.in_use`.
    """
    if dependents:
        named = ", ".join(f"{one.kind} {one.title}" for one in dependents[:_NAMED])
        more = f" and {len(dependents) - _NAMED} more" if len(dependents) > _NAMED else ""
        message = f"The {noun} {name} is needed by {named}{more}; delete or end these first."
        raise Conflict(f"{noun}.in_use", message, dependents=[asdict(one) for one in dependents])
    if before is not None:
        before()
    session.delete(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(f"{noun}.in_use", f"Something began to use the {noun} {name} in this moment.") from error
    events.record(session, f"{noun}.deleted", subject=name)


def _referring(session: Session, table: Any, key: str) -> Iterator[Dependent]:
    """Give the rows whose foreign keys name a row, but for those that go along or do without it (ON DELETE)."""
    for other in Base.metadata.sorted_tables:
        columns = [one.parent for one in other.foreign_keys if one.column.table is table and one.ondelete is None]
        if columns:
            first = next(iter(other.primary_key.columns))
            query = select(first).where(or_(*(column == key for column in columns))).distinct().limit(_MOST)
            for id_ in session.scalars(query.order_by(first)):
                yield Dependent(kind=_kind(other), id=str(id_), title=_title(session, other, str(id_)))


def _kind(table: Table) -> str:
    return _KINDS.get(table.name, table.name.removesuffix("s").replace("_", " "))


def _title(session: Session, table: Table, id_: str) -> str:
    if table.name == VersionRow.__tablename__:
        version = session.get_one(VersionRow, id_)
        return f"{version.model}/{version.number}"
    if table.name == VariantRow.__tablename__:
        variant = session.get_one(VariantRow, id_)
        return f"{variant.recipe} for {variant.runtime}"
    if table.name == EvaluationRow.__tablename__:
        weights = session.get_one(EvaluationRow, id_).weights
        measured = select(VersionRow).where(or_(VersionRow.weights == weights, VersionRow.file == weights))
        of = session.scalar(measured.order_by(VersionRow.id).limit(1))
        return f"of {of.model}/{of.number}" if of is not None else id_
    return id_


def _jobs(session: Session, condition: Any) -> Iterator[Dependent]:
    """Give the open jobs like that."""
    query = select(JobRow).where(JobRow.state.in_(_OPEN), condition).order_by(JobRow.id).limit(_MOST)
    for row in session.scalars(query):
        yield Dependent(kind="job", id=row.id, title=f"{row.kind} {row.subject} ({row.id})")


def _made_with(session: Session, dataset: DatasetRow) -> Iterator[Dependent]:
    """Give what has a data set in its lineage; what devices call a data set of theirs is another one."""
    names = {dataset.id, dataset.name}
    mentions = or_(*(cast(VariantRow.lineage, String).contains(name, autoescape=True) for name in names))
    for variant in session.scalars(select(VariantRow).where(mentions).order_by(VariantRow.id)):
        if names & set(_datasets(variant.lineage)):
            yield Dependent(kind="variant", id=variant.id, title=f"{variant.recipe} for {variant.runtime}")
    mentions = or_(*(cast(VersionRow.lineage, String).contains(name, autoescape=True) for name in names))
    for version in session.scalars(select(VersionRow).where(mentions).order_by(VersionRow.id)):
        if names & set(_datasets(version.lineage, is_learned=version.source != VersionSource.UPLOADED)):
            yield Dependent(kind="version", id=version.id, title=f"{version.model}/{version.number}")


def _datasets(lineage: dict[str, Any], *, is_learned: bool = False) -> Iterable[str]:
    named = dict(lineage.get("datasets", {}))
    return [str(name) for role, name in named.items() if not (is_learned and role == "training")]


def _forget_evaluations(session: Session, version: VersionRow) -> None:
    measured = version.weights or version.file
    same = or_(VersionRow.weights == measured, VersionRow.file == measured)
    if session.scalar(select(VersionRow.id).where(same, VersionRow.id != version.id).limit(1)) is None:
        session.execute(delete(EvaluationRow).where(EvaluationRow.weights == measured))
