"""Which devices a selector means: checked against what there is, counted, and read in pages.

Work is given to active devices only; lists, groups and label edits mean devices in every state.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from controller.devices.lifecycle import DeviceState
from controller.devices.selector_fields import FIELDS, GROUP, LABELS, MEANINGS, Field, Kind, Shape
from controller.devices.selector_language import All, Op, Selector, Term, nearest, parse, print_path
from controller.devices.selector_sql import Scope, condition, counting, is_broad, planned
from controller.devices.tables import DeviceRow, DeviceTextRow, EnrollmentTokenRow, GroupRow
from controller.errors import NotFound

_NAMED_VALUES: Final = 30  # with more values than these, a field has too many to name
_NAMES: Final = 200  # of a map


@dataclass(frozen=True, kw_only=True)
class Known:
    """Something that a selector can ask for now.

    Attributes:
        type: `text`, `number`, `boolean`, `list`, `map`.
        values: That occur, the most frequent first; empty where there are too many.
    """

    path: str
    type: str
    meaning: str
    values: list[str]


def accept(session: Session, text: str) -> Selector:
    """Read a selector that somebody typed.

    Raises:
        Invalid: What `parse` refuses; `selector.unknown_label` for a label that no device and no enrolment token has,
            `selector.unknown_group`.
    """
    meant = parse(text)
    _check_labels(session, meant)
    _check_groups(session, meant)
    return meant


def accept_for_work(session: Session, text: str) -> Selector:
    """Read a selector of devices that shall do something.

    Raises:
        Invalid: See `accept`.
        NotFound: `device.not_found`, for an id that is none of an active device.
    """
    meant = accept(session, text)
    named = {str(value) for term in meant.terms if _names_ids(term) for value in term.values}
    active = select(DeviceRow.id).where(DeviceRow.id.in_(named), DeviceRow.state == DeviceState.ACTIVE)
    missing = sorted(named - set(session.scalars(active))) if named else []
    if missing:
        raise NotFound("device.not_found", f"No active device is called {missing[0][:40]}.", missing=missing[:20])
    return meant


def named_ids(meant: Selector) -> list[str]:
    """Give the ids of a selector that does nothing but name devices; none of others."""
    expression = meant.expression
    return (
        [str(value) for value in expression.values] if isinstance(expression, Term) and _names_ids(expression) else []
    )


def select_devices(session: Session, text: str) -> list[DeviceRow]:
    """Give the active devices that a selector means now, ordered by id; what it names need not be there any more."""
    query = select(DeviceRow).where(DeviceRow.state == DeviceState.ACTIVE, planned(session, parse(text).expression))
    return list(session.scalars(query.order_by(DeviceRow.id)))


def count(session: Session, meant: Selector) -> tuple[int, int]:
    """Count the devices that a selector means, and the active ones of them."""
    is_active = case((DeviceRow.state == DeviceState.ACTIVE, 1), else_=0)
    query = select(func.count(), func.coalesce(func.sum(is_active), 0)).select_from(DeviceRow)
    devices, active = session.execute(query.where(planned(session, meant.expression))).one()
    return devices, int(active)


def read_page(
    session: Session, meant: Selector, *, search: str, after: str | None, limit: int
) -> tuple[list[DeviceRow], int]:
    """Give the devices that follow on an id, ordered by id, and how many there are in all.

    Args:
        search: Part of an id or a host name; empty for any.
    """
    looks = [_looks_like(search)] if search else []
    following = DeviceRow.id > (after or "")
    if isinstance(meant.expression, All) and not looks:
        total = session.scalar(select(func.count()).select_from(DeviceRow)) or 0
        return list(session.scalars(select(DeviceRow).where(following).order_by(DeviceRow.id).limit(limit))), total
    if session.get_bind().dialect.name == "sqlite" or is_broad(session, meant.expression):
        return _read_along(session, meant, looks, following, limit)
    # A set of few is the dear part: PostgreSQL evaluates it once, for the count and for the page.
    found = select(DeviceRow.id).where(condition(meant.expression), *looks).cte("found")
    total_of = select(func.count()).select_from(found).scalar_subquery()
    wanted = select(found.c.id, total_of).where(found.c.id > (after or "")).order_by(found.c.id).limit(limit)
    rows = session.execute(wanted).all()
    if not rows:
        return [], session.scalar(select(total_of)) or 0
    query = select(DeviceRow).where(DeviceRow.id.in_([device_id for device_id, _ in rows])).order_by(DeviceRow.id)
    return list(session.scalars(query)), rows[0][1]


def _read_along(
    session: Session,
    meant: Selector,
    looks: Sequence[ColumnElement[bool]],
    following: ColumnElement[bool],
    limit: int,
) -> tuple[list[DeviceRow], int]:
    """Read a page along the ids where many devices are meant: the database stops where it is full."""
    devices = session.scalar(select(func.count()).select_from(DeviceRow)) or 0
    chosen = planned(session, meant.expression)
    counted = counting(session, meant.expression)
    if looks:
        counted = select(func.count()).select_from(DeviceRow).where(chosen, *looks)
    total = session.scalar(counted) or 0
    # `limit` of `total` are found after `limit * devices / total` looks; the set of all is `total` rows.
    if total * total >= limit * devices:
        chosen = condition(meant.expression, Scope.FEW)
    query = select(DeviceRow).where(following, chosen, *looks).order_by(DeviceRow.id).limit(limit)
    return list(session.scalars(query)), total


def fields(session: Session) -> list[Known]:
    """Give all that a selector can ask for now, with the names that maps have and the values that occur."""
    known: list[Known] = []
    for field in FIELDS.values():
        if field.shape is Shape.MAP:
            names = _distinct(session, field.name, _NAMES)
            known.append(_known(field, field.name, "map", names))
            for name in names:
                path = print_path(field, name)
                known.append(_known(field, path, field.kind.value, _values(session, field, path)))
        else:
            kind = "list" if field.shape is Shape.LIST else field.kind.value
            known.append(_known(field, field.name, kind, _values(session, field, field.name)))
    return known


def label_names(session: Session) -> list[str]:
    """Give the names of the labels that devices or enrolment tokens have."""
    names = set(_distinct(session, LABELS, None))
    for labels in session.scalars(select(EnrollmentTokenRow.labels)):
        names |= labels.keys()
    return sorted(names)


def _known(field: Field, path: str, kind: str, values: list[str]) -> Known:
    return Known(path=path, type=kind, meaning=MEANINGS[field.name], values=values)


def _values(session: Session, field: Field, path: str) -> list[str]:
    if field.words:
        return list(field.words)
    if field.name == GROUP:
        return list(session.scalars(select(GroupRow.name).order_by(GroupRow.name).limit(_NAMES)))
    if field.kind is not Kind.TEXT or field.name == "id":
        return []
    if len(_distinct(session, path, _NAMED_VALUES + 1)) > _NAMED_VALUES:
        return []
    often = func.count().desc()
    query = select(DeviceTextRow.value).where(DeviceTextRow.path == path).group_by(DeviceTextRow.value)
    return list(session.scalars(query.order_by(often, DeviceTextRow.value)))


def _distinct(session: Session, path: str, limit: int | None) -> list[str]:
    """Give the values of a path, each once, by jumping from one to the next in the index."""
    row, following = aliased(DeviceTextRow), aliased(DeviceTextRow)
    jumps = select(func.min(row.value).label("value")).where(row.path == path).cte("jumps", recursive=True)
    next_value = (
        select(func.min(following.value))
        .where(following.path == path, following.value > jumps.c.value)
        .correlate(jumps)
        .scalar_subquery()
    )
    jumps = jumps.union_all(select(next_value).where(jumps.c.value.is_not(None)))
    query = select(jumps.c.value).where(jumps.c.value.is_not(None)).limit(limit)
    return list(session.scalars(query))


def _looks_like(search: str) -> ColumnElement[bool]:
    named = select(DeviceTextRow.device).where(
        DeviceTextRow.path == "facts.hostname", DeviceTextRow.value.icontains(search, autoescape=True)
    )
    return or_(DeviceRow.id.icontains(search, autoescape=True), DeviceRow.number.in_(named))


def _check_labels(session: Session, meant: Selector) -> None:
    asked = {name: term for term in meant.terms if term.field.name == LABELS for name in _names(term)}
    if not asked:
        return
    query = select(DeviceTextRow.value).where(DeviceTextRow.path == LABELS, DeviceTextRow.value.in_(asked))
    missing = asked.keys() - set(session.scalars(query.distinct()))
    if not missing:
        return
    known = label_names(session)
    for name in sorted(missing - set(known), key=lambda name: asked[name].place.column):
        term, like = asked[name], nearest(name, known)
        message = f"No device and no enrolment token has the label {name[:64]}."
        suggestion = None if like is None else print_path(term.field, like)
        raise meant.refuse("selector.unknown_label", message, term.place, suggestion)


def _check_groups(session: Session, meant: Selector) -> None:
    asked = [(str(value), term) for term in meant.terms if term.field.name == GROUP for value in term.values]
    if not asked:
        return
    known = list(session.scalars(select(GroupRow.name)))
    for name, term in asked:
        if name not in known:
            message = f"There is no group {name[:64]}."
            raise meant.refuse("selector.unknown_group", message, term.place, nearest(name, known))


def _names(term: Term) -> Iterable[str]:
    return [term.key] if term.key is not None else [str(value) for value in term.values]


def _names_ids(term: Term) -> bool:
    return term.field.name == "id" and term.op is Op.EQ
