"""What a selector means, as SQL that is the same on every database: a condition on `DeviceRow` that is never NULL.

Over the whole registry a comparison is a set of devices out of an index; for a few known devices it is a look into the
index for each of them. Both mean the same, `Scope` only says which is the cheaper.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, not_, or_, select, true, union
from sqlalchemy.orm import InstrumentedAttribute, Session

from controller.devices.selector_fields import GROUP, Kind, Shape
from controller.devices.selector_language import All, And, Expression, Not, Op, Or, Term, print_path
from controller.devices.tables import DeviceNumberRow, DeviceRow, DeviceTextRow, GroupMemberRow

# States and flags are read along `ix_devices_selecting`. Written plainly, SQLite looks them up in an index of their own
# and then reads whole devices for the rest: 95 ms instead of 30 ms for 80,000 of 100,000 devices.
_COLUMNS: Final[dict[str, ColumnElement[str] | InstrumentedAttribute[str]]] = {
    "id": DeviceRow.id,
    "state": func.coalesce(DeviceRow.state, ""),
}
_FLAGS: Final[dict[str, InstrumentedAttribute[bool]]] = {"online": DeviceRow.online, "flapping": DeviceRow.flapping}
_FEW: Final = 20_000  # looks for each of so many devices are cheaper than a set of most of the fleet


class Scope(Enum):
    """Among how many devices is looked."""

    ALL = "all"
    FEW = "few"


def condition(expression: Expression, scope: Scope = Scope.ALL) -> ColumnElement[bool]:
    """Give the condition that holds for the devices that are meant."""
    match expression:
        case All():
            return true()
        case Term():
            return _term(expression, scope)
        case Not(operand=operand):
            return not_(condition(operand, scope))
        case And(operands=operands):
            return and_(*(condition(operand, scope) for operand in operands))
        case Or(operands=operands):
            return or_(*(condition(operand, scope) for operand in operands))


def planned(session: Session, expression: Expression) -> ColumnElement[bool]:
    """Like `condition`, for the whole registry as it is now.

    Where one of several comparisons that must all hold means few devices, the others are looked up for those alone.
    PostgreSQL finds that by itself.
    """
    if not isinstance(expression, And) or session.get_bind().dialect.name != "sqlite":
        return condition(expression)
    sets = [operand for operand in expression.operands if isinstance(operand, Term) and _is_set(operand)]
    sizes = {index: _size(session, term) for index, term in enumerate(sets)}
    rarest = min(sizes, key=sizes.__getitem__, default=None)
    if rarest is None or sizes[rarest] > _FEW:
        return condition(expression)
    others = (condition(operand, Scope.FEW) for operand in expression.operands if operand is not sets[rarest])
    return and_(condition(sets[rarest]), *others)


def is_broad(session: Session, expression: Expression) -> bool:
    """Tell whether many devices may be meant: no comparison that has to hold is known to mean few."""
    match expression:
        case Term() if _is_set(expression):
            return _size(session, expression) > _FEW
        case And(operands=operands):
            return all(is_broad(session, operand) for operand in operands)
        case Or(operands=operands):
            return any(is_broad(session, operand) for operand in operands)
    return True


def counting(session: Session, expression: Expression) -> Select[int]:
    """Give the query that counts the devices that are meant; of alternatives in indexes alone, without the devices."""
    terms = expression.operands if isinstance(expression, Or) else [expression]
    sets = [_set_of(term) for term in terms if isinstance(term, Term) and _is_set(term)]
    if len(sets) < len(terms):
        return select(func.count()).select_from(DeviceRow).where(planned(session, expression))
    # A device with two values of a list, or in two of the groups, is one device.
    each = [select(device.label("device")).where(*conditions).distinct() for device, conditions in sets]
    return select(func.count()).select_from((union(*each) if len(each) > 1 else each[0]).subquery())


def _size(session: Session, term: Term) -> int:
    """Count the devices of which a comparison holds, but no further than counts."""
    device, conditions = _set_of(term)
    some = select(device).where(*conditions).limit(_FEW + 1).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _term(term: Term, scope: Scope) -> ColumnElement[bool]:
    name = term.field.name
    if name in _COLUMNS:
        return _compared(_COLUMNS[name], term.op, term.values)
    if name in _FLAGS:
        return _FLAGS[name].is_not(not term.values[0])
    device, conditions = _set_of(term)
    if scope is Scope.ALL:
        return DeviceRow.number.in_(select(device).where(*conditions))
    # OFFSET 0 keeps PostgreSQL from making a join of it, which it would compute whole for the first page of fifty.
    look = select(device).where(device == DeviceRow.number, *conditions).correlate(DeviceRow)
    return look.offset(0).exists()


def _is_set(term: Term) -> bool:
    return term.field.name not in _COLUMNS and term.field.name not in _FLAGS


def _set_of(term: Term) -> tuple[InstrumentedAttribute[int], Sequence[ColumnElement[bool]]]:
    """Give the column of devices, and the conditions, under which an index has those of which a comparison holds."""
    if term.field.name == GROUP:
        return GroupMemberRow.device, [GroupMemberRow.group.in_(term.values)]
    path = print_path(term.field, term.key)
    is_name = term.op is Op.HAS and term.field.shape is Shape.MAP
    if is_name or term.field.kind is Kind.TEXT:
        compared = _compared(DeviceTextRow.value, term.op, term.values)
        return DeviceTextRow.device, [DeviceTextRow.path == path, compared]
    compared = _compared(DeviceNumberRow.value, term.op, [float(value) for value in term.values])
    return DeviceNumberRow.device, [DeviceNumberRow.path == path, compared]


def _compared(
    column: ColumnElement[Any] | InstrumentedAttribute[Any], op: Op, values: Sequence[object]
) -> ColumnElement[bool]:
    value = values[0]
    match op:
        case Op.EQ | Op.HAS:
            return column == value if len(values) == 1 else column.in_(values)
        case Op.NE:
            return column != value
        case Op.LT:
            return column < value
        case Op.LE:
            return column <= value
        case Op.GT:
            return column > value
        case Op.GE:
            return column >= value
