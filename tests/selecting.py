"""Selectors made up for tests, and a plain reading of them in Python that knows no SQL."""

from collections.abc import Callable, Collection
from typing import Any

from hypothesis import strategies as st

from controller.devices.lifecycle import DeviceState
from controller.devices.selector_fields import FIELDS, Field, Kind, Shape
from controller.devices.selector_language import All, And, Expression, Not, Op, Or, Term
from controller.devices.tables import DeviceRow

LABELS = ("site", "ring", "a/b", "in", "not there")
TEXTS = ("lyon", "paris", "", "é", 'say "x"', "Lyon", "%", "neon", "dotprod", "onnxruntime", "gpu", "1.0")
NUMBERS = (0, 1, 2, 4, 0.25, -1, 2**31, 2 * 2**30, 0.1)
MODELS = ("digits", "street lamps")
GROUPS = ("cameras", "lamps")
IDS = tuple(f"d-{letter}" for letter in "abcdef")

_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: st.sampled_from(TEXTS),
    Kind.NUMBER: st.sampled_from(NUMBERS),
    Kind.BOOLEAN: st.booleans(),
}
_KEYS = {
    "labels": LABELS,
    "serves": MODELS,
    "facts.runtimes": TEXTS[-4:],
    "facts.runtime_options": ("openvino.device", "litert.delegate"),
    "facts.temperatures_celsius": ("cpu",),
}
_TYPES = {Kind.TEXT: (str, DeviceState), Kind.NUMBER: (int, float), Kind.BOOLEAN: (bool,)}
_ORDER = (Op.LT, Op.LE, Op.GT, Op.GE)


def expressions() -> st.SearchStrategy[Expression]:
    """Give trees as `parse` builds them."""

    def deeper(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        several = st.lists(inner, min_size=2, max_size=3)
        return st.one_of(
            inner.map(_negated),
            several.map(lambda parts: _joined(And, parts)),
            several.map(lambda parts: _joined(Or, parts)),
        )

    return st.recursive(st.one_of(st.just(All()), _terms()), deeper, max_leaves=6)


def holds(expression: Expression, device: DeviceRow, groups: Collection[str]) -> bool:
    """Tell whether a device is meant."""
    match expression:
        case All():
            return True
        case Not(operand=operand):
            return not holds(operand, device, groups)
        case And(operands=operands):
            return all(holds(operand, device, groups) for operand in operands)
        case Or(operands=operands):
            return any(holds(operand, device, groups) for operand in operands)
        case Term():
            compare = _COMPARE[expression.op]
            values = _values_of(expression, device, groups)
            return any(compare(known, value) for known in values for value in expression.values)


_COMPARE: dict[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: lambda known, value: bool(known == value),
    Op.HAS: lambda known, value: bool(known == value),
    Op.NE: lambda known, value: bool(known != value),
    Op.LT: lambda known, value: bool(known < value),
    Op.LE: lambda known, value: bool(known <= value),
    Op.GT: lambda known, value: bool(known > value),
    Op.GE: lambda known, value: bool(known >= value),
}


def _values_of(term: Term, device: DeviceRow, groups: Collection[str]) -> list[Any]:
    serving = {
        slot["model"]: slot["version"] for slot in device.reported.get("slots", []) if slot["state"] == "serving"
    }
    document = {
        "id": device.id,
        "state": device.state,
        "online": device.online,
        "flapping": device.flapping,
        "agent_version": device.agent_version or None,
        "labels": device.labels,
        "group": list(groups),
        "serves": serving,
        "facts": device.facts,
    }
    known = [document]
    for part in term.field.name.split("."):
        inner = [one.get(part) for one in known]
        known = [value for one in inner for value in (one if isinstance(one, list) else [one]) if value is not None]
    if term.field.shape is Shape.MAP:
        maps = [names for names in known if isinstance(names, dict)]
        if term.key is None:
            return [name for names in maps for name in names]
        known = [names[term.key] for names in maps if term.key in names]
    return [value for value in known if type(value) in _TYPES[term.field.kind]]


@st.composite
def _terms(draw: st.DrawFn) -> Term:
    field = draw(st.sampled_from(list(FIELDS.values())))
    key, op = draw(_asked(field))
    if op is Op.HAS and field.shape is Shape.MAP:
        return Term(field=field, op=op, values=(draw(st.sampled_from(_KEYS[field.name])),))
    special = {"id": IDS, "state": FIELDS["state"].words, "group": GROUPS}
    values = st.sampled_from(special[field.name]) if field.name in special else _VALUES[field.kind]
    is_many = op is Op.EQ and field.kind is not Kind.BOOLEAN
    chosen = draw(st.sets(values, min_size=1, max_size=3 if is_many else 1))
    return Term(field=field, key=key, op=op, values=tuple(sorted(chosen)))


@st.composite
def _asked(draw: st.DrawFn, field: Field) -> tuple[str | None, Op]:
    if field.shape is Shape.LIST:
        return None, draw(st.sampled_from((Op.HAS, *_ORDER) if field.kind is Kind.NUMBER else (Op.HAS,)))
    ops = [Op.EQ]
    ops += [Op.NE] if field.kind is not Kind.BOOLEAN and field.name != "group" else []
    ops += _ORDER if field.kind is Kind.NUMBER else ()
    if field.shape is Shape.ONE:
        return None, draw(st.sampled_from(ops))
    op = draw(st.sampled_from([*ops, Op.HAS]))
    return (None if op is Op.HAS else draw(st.sampled_from(_KEYS[field.name]))), op


def _negated(inner: Expression) -> Expression:
    return inner.operand if isinstance(inner, Not) else Not(operand=inner)


def _joined(kind: type[And] | type[Or], parts: list[Expression]) -> Expression:
    operands: list[Expression] = []
    for part in parts:
        operands += part.operands if isinstance(part, kind) else [part]
    return kind(operands=tuple(operands))
