"""The selector language: text to a tree and back. Pure; what a tree means in the database is in `selector_sql`.

A tree has one spelling: `parse(str(selector))` gives an equal one. A comparison with something absent is false, and so
its `not` is true. Every refusal points at its place in the text. docs/selectors.md explains the language to operators.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from controller.devices.selector_fields import FIELDS, GROUP, Field, Kind, Shape
from controller.errors import Invalid

MAX_LENGTH: Final = 16_384
MAX_DEPTH: Final = 50  # of parentheses and `not`
MAX_TERMS: Final = 200  # comparisons; SQLite takes an expression of at most 1,000 levels
GRAMMAR: Final = r"""
start: either
either: both ("or" both)*
both: single ("and" single)*
?single: NOT single                        -> negation
       | LEFT either ")"                   -> nested
       | ALL                               -> everything
       | path                              -> truth
       | path OPERATOR value               -> comparison
       | path HAS value                    -> comparison
       | path "in" "(" value ("," value)* ","? ")"  -> choice
path: WORD ("." WORD)* ("[" STRING "]")?
?value: STRING | NUMBER | WORD | TRUE | FALSE

NOT: "not"
LEFT: "("
ALL: "all"
HAS: "has"
TRUE: "true"
FALSE: "false"
OPERATOR: "==" | "!=" | "<=" | ">=" | "<" | ">"
WORD: /[A-Za-z_][A-Za-z0-9_-]*/
STRING: /"(?:[^"\\\x00-\x1f]|\\["\\\/bfnrt]|\\u[0-9a-fA-F]{4})*"/
NUMBER: /-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?(?:[ \t]*(?:[KMGT]iB|[kMGT]B))?(?![A-Za-z0-9_.])/
%ignore /[ \t\r\n]+/
"""

Value = str | int | float | bool
_UNITS: Final = {
    "TiB": 2**40,
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
}
_MAPS: Final = ("labels", "serves")
_KEYWORDS: Final = frozenset({"all", "and", "false", "has", "in", "not", "or", "true"})
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_EXACT: Final = 2**53  # integers beyond are no exact JSON numbers
_LEAST_LIKE: Final = 0.6
_SHOWN: Final = 60  # characters of a long line on each side of the place
_HABITS: Final = {"=": "==", "&": "and", "|": "or", "!": "not", "'": '"'}  # of other languages
_EXPECTED: Final = {
    "$END": "the end",
    "RPAR": "`)`",
    "LEFT": "`(`",
    "LPAR": "`(`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "DOT": "`.`",
    "COMMA": "`,`",
    "WORD": "a name",
    "STRING": "a text in double quotes",
    "NUMBER": "a number",
    "OPERATOR": "a comparison",
}


@dataclass(frozen=True)
class Place:
    """Where something stands in the text.

    Attributes:
        column: Its first character, counted from 1.
        length: In characters, at least 1.
    """

    column: int
    length: int


class Op(StrEnum):
    """How a field is compared. `in` is `==` with several values."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    HAS = "has"


@dataclass(frozen=True, kw_only=True)
class All:
    """Every device."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """True where a value of the field compares to one of `values`; false where the field is absent.

    Attributes:
        key: The name in a map, such as a label's; None for other fields, and where `has` asks for the name itself.
        values: Sorted, without doubles; several only for `==`.
    """

    field: Field
    key: str | None = None
    op: Op
    values: tuple[Value, ...]
    place: Place = dataclasses.field(default=Place(1, 1), compare=False)


@dataclass(frozen=True, kw_only=True)
class Not:
    """True where `operand` is false."""

    operand: "Expression"


@dataclass(frozen=True, kw_only=True)
class And:
    """True where all operands are; none of them is an `And`."""

    operands: tuple["Expression", ...]


@dataclass(frozen=True, kw_only=True)
class Or:
    """True where one operand is; none of them is an `Or`."""

    operands: tuple["Expression", ...]


Expression = All | Term | Not | And | Or


@dataclass(frozen=True)
class Selector:
    """What was read.

    Attributes:
        source: The text as it was given, which places refer to.
    """

    expression: Expression
    source: str = dataclasses.field(compare=False)

    def __str__(self) -> str:
        return print_expression(self.expression)

    @property
    def terms(self) -> list[Term]:
        """All comparisons, in order."""
        return list(_terms(self.expression))

    @property
    def roots(self) -> frozenset[str]:
        """What has to change on a device for its answer to change: `labels`, `facts`, `state`, ..."""
        return frozenset(term.field.root for term in self.terms)

    def refuse(self, code: str, message: str, place: Place, suggestion: str | None = None) -> Invalid:
        """Give the error that points at a place of this selector."""
        return _refusal(self.source, code, message, place, suggestion)


def parse(text: str) -> Selector:
    """Read a selector.

    Raises:
        Invalid: `selector.syntax`, `selector.unknown_field`, `selector.wrong_type`, `selector.too_long`,
            `selector.too_deep`; each with `column`, `length` and `suggestion`.

    >>> str(parse('labels.site=="lyon" and (facts.memory_bytes >= 2048MiB and not state in (retired,))'))
    'labels.site == "lyon" and facts.memory_bytes >= 2GiB and not state == retired'
    """
    if len(text) > MAX_LENGTH:
        message = f"A selector has at most {MAX_LENGTH} characters, and this one {len(text)}: save a part as a group."
        raise _refusal(text, "selector.too_long", message, Place(MAX_LENGTH + 1, 1))
    selector = Selector(_read(text), text)
    if len(selector.terms) > MAX_TERMS:
        message = f"A selector has at most {MAX_TERMS} comparisons: use `in`, or save a part as a group."
        raise selector.refuse("selector.too_long", message, selector.terms[MAX_TERMS].place)
    if len(str(selector)) > MAX_LENGTH:
        message = f"Spelled out, this selector has more than {MAX_LENGTH} characters: save a part as a group."
        raise selector.refuse("selector.too_long", message, Place(1, len(text)))
    return selector


def print_expression(expression: Expression) -> str:
    """Give the one spelling of a tree."""
    match expression:
        case All():
            return "all"
        case Term():
            return _print_term(expression)
        case Not(operand=operand):
            return f"not {_within(operand, And | Or)}"
        case And(operands=operands):
            return " and ".join(_within(operand, Or) for operand in operands)
        case Or(operands=operands):
            return " or ".join(map(print_expression, operands))


def print_path(field: Field, key: str | None) -> str:
    """Give the one spelling of a field.

    >>> print_path(FIELDS["labels"], "site"), print_path(FIELDS["labels"], "a/b")
    ('labels.site', 'labels["a/b"]')
    """
    if key is None:
        return field.name
    return f"{field.name}.{key}" if _is_bare(key) else f"{field.name}[{_quote(key)}]"


def nearest(wrong: str, known: Sequence[str]) -> str | None:
    """Give the known word that is most like a wrong one, None where none is."""
    found = get_close_matches(wrong[:128], known, n=1, cutoff=_LEAST_LIKE)
    return found[0] if found else None


@dataclass(frozen=True)
class _Path:
    field: Field
    key: str | None
    place: Place


@dataclass(frozen=True)
class _Part:
    """A part of the tree while it is built, with how deep parentheses and `not` stand in it."""

    expression: Expression
    depth: int


class _Refused(Exception):
    """A refusal without the text that it points into."""

    def __init__(self, code: str, message: str, place: Place, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.place = place
        self.suggestion = suggestion


class _Builder(Transformer[Token, Any]):
    """Builds the tree bottom-up while the parser reads, so that nothing here recurses."""

    def start(self, children: list[_Part]) -> Expression:
        return children[0].expression

    def either(self, children: list[_Part]) -> _Part:
        return _joined(Or, children)

    def both(self, children: list[_Part]) -> _Part:
        return _joined(And, children)

    def negation(self, children: list[Any]) -> _Part:
        word, part = children
        inner = part.expression
        depth = _deeper(part, word)
        return _Part(inner.operand if isinstance(inner, Not) else Not(operand=inner), depth)

    def nested(self, children: list[Any]) -> _Part:
        left, part = children
        return _Part(part.expression, _deeper(part, left))

    def everything(self, _children: list[Token]) -> _Part:
        return _Part(All(), 0)

    def path(self, children: list[Token]) -> _Path:
        words = [str(child) for child in children if child.type == "WORD"]
        place = _span(children[0], children[-1])
        key = None
        if children[-1].type == "STRING":
            key = _text_of(children[-1])
            place = Place(place.column, place.length + 1)  # the bracket
        elif (inner := FIELDS.get(".".join(words[:-1]))) is not None and inner.shape is Shape.MAP:
            key = words.pop()
        name = ".".join(words)
        found = FIELDS.get(name)
        if found is None:
            raise _unknown(name, place)
        if key is not None and found.shape is not Shape.MAP:
            raise _wrong(f"{name} has no names in it: write it without brackets.", place, name)
        return _Path(found, key, place)

    def truth(self, children: list[_Path]) -> _Part:
        (path,) = children
        if path.field.kind is not Kind.BOOLEAN or path.field.shape is not Shape.ONE:
            message = f"{path.field.name} is no yes or no: compare it, such as with `{_example(path)}`."
            raise _wrong(message, path.place, _example(path))
        return _term(path, Op.EQ, [True])

    def comparison(self, children: list[Any]) -> _Part:
        path, operator, token = children
        op = Op(str(operator))
        _check_operator(path, op, _span(operator, operator))
        value = _value(path, op, token)
        if isinstance(value, bool) and op is Op.NE:
            op, value = Op.EQ, not value
        return _term(path, op, [value])

    def choice(self, children: list[Any]) -> _Part:
        path, *tokens = children
        if path.field.kind is Kind.BOOLEAN:
            raise _wrong(f"{path.field.name} is yes or no: write it alone, or with `not`.", path.place)
        _check_operator(path, Op.EQ, path.place)
        return _term(path, Op.EQ, [_value(path, Op.EQ, token) for token in tokens])


def _term(path: _Path, op: Op, values: Sequence[Value]) -> _Part:
    sorted_values = tuple(sorted(set(values)))
    return _Part(Term(field=path.field, key=path.key, op=op, values=sorted_values, place=path.place), 0)


def _check_operator(path: _Path, op: Op, place: Place) -> None:
    name, shape, kind = path.field.name, path.field.shape, path.field.kind
    if op is Op.HAS:
        if shape is Shape.ONE or path.key is not None:
            raise _wrong(f"{print_path(path.field, path.key)} is one value: use `==`.", place, "==")
        return
    if shape is Shape.MAP and path.key is None:
        message = f'{name} holds values by name: write `{_example(path)}`, or `{name} has "name"`.'
        raise _wrong(message, path.place, _example(path))
    is_order = op in (Op.LT, Op.LE, Op.GT, Op.GE)
    if is_order and kind is not Kind.NUMBER:
        raise _wrong(f"{name} is no number: it has no order, only `==`, `!=` and `in`.", place, "==")
    if shape is Shape.LIST and not is_order:
        raise _wrong(f"{name} holds several values: use `has`.", place, "has")
    if op is Op.NE and name == GROUP:
        raise _wrong("A device can be in several groups: write `not group == ...`.", place)


def _value(path: _Path, op: Op, token: Token) -> Value:
    place = _span(token, token)
    if path.field.shape is Shape.MAP and op is Op.HAS:
        if token.type != "STRING":
            raise _wrong("A name stands in double quotes here.", place, _quote(str(token)))
        return _text_of(token)
    match path.field.kind, token.type:
        case Kind.TEXT, "STRING" | "WORD":
            return _word_or_text(path, token, place)
        case Kind.NUMBER, "NUMBER":
            return _number_of(token)
        case Kind.BOOLEAN, "TRUE" | "FALSE":
            return token.type == "TRUE"
    wanted = {Kind.TEXT: "a text in double quotes", Kind.NUMBER: "a number", Kind.BOOLEAN: "true or false"}
    is_text = path.field.kind is Kind.TEXT
    message = f"{print_path(path.field, path.key)} is compared with {wanted[path.field.kind]}."
    raise _wrong(message, place, _quote(str(token)) if is_text and token.type != "STRING" else None)


def _word_or_text(path: _Path, token: Token, place: Place) -> str:
    words = path.field.words
    said = _text_of(token) if token.type == "STRING" else str(token)
    if words and said not in words:
        suggestion = nearest(said, words)
        raise _wrong(f"{path.field.name} is one of {', '.join(words)}.", place, suggestion)
    if token.type == "WORD" and not words and path.field.name != "id":
        message = f"{print_path(path.field, path.key)} is compared with a text in double quotes."
        raise _wrong(message, place, _quote(said))
    return said


def _text_of(token: Token) -> str:
    said: str = json.loads(token)
    if "\0" in said or any("\ud800" <= letter <= "\udfff" for letter in said):
        message = "A text has no NUL and no half characters."
        raise _Refused("selector.syntax", message, _span(token, token))
    return said


def _number_of(token: Token) -> int | float:
    said = str(token)
    unit = next((unit for unit in _UNITS if said.endswith(unit)), "")
    exact = Fraction(said.removesuffix(unit).rstrip()) * _UNITS.get(unit, 1)
    if exact.denominator == 1 and abs(exact) <= _EXACT:
        return int(exact)
    try:
        rounded = float(exact)
    except OverflowError:
        rounded = math.inf
    if math.isinf(rounded):
        raise _wrong("This number is too large.", _span(token, token))
    return int(rounded) if rounded == 0 else rounded


def _unknown(name: str, place: Place) -> _Refused:
    suggestion = nearest(name, list(FIELDS)) or next((one for one in FIELDS if one.endswith(f".{name}")), None)
    message = f"There is no field {_short(name)}."
    root, dot, rest = name.partition(".")
    if dot and root in _MAPS:
        suggestion = f"{root}[{_quote(rest)}]"
        message = "A name with dots stands in brackets."
    elif dot and (like := nearest(root, _MAPS)) is not None:
        suggestion = f"{like}.{rest}"
    return _Refused("selector.unknown_field", message, place, suggestion)


def _wrong(message: str, place: Place, suggestion: str | None = None) -> _Refused:
    return _Refused("selector.wrong_type", message, place, suggestion)


def _deeper(part: _Part, token: Token) -> int:
    if part.depth >= MAX_DEPTH:
        message = f"Parentheses and `not` stand at most {MAX_DEPTH} deep."
        raise _Refused("selector.too_deep", message, _span(token, token))
    return part.depth + 1


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", transformer=_Builder())


def _read(text: str) -> Expression:
    try:
        read: Expression = _parser().parse(text)  # type: ignore[assignment]  # the builder gives no tree
    except _Refused as error:
        raise _refusal(text, error.code, error.message, error.place, error.suggestion) from None
    except UnexpectedInput as error:
        raise _syntax(text, error) from None
    return read


def _syntax(text: str, error: UnexpectedInput) -> Invalid:
    if isinstance(error, UnexpectedToken):
        token = error.token
        is_end = token.type == "$END"
        place = Place(len(text) + 1, 1) if is_end else _span(token, token)
        found, names = ("the end" if is_end else f"`{_short(str(token))}`"), error.accepts or error.expected
    else:
        assert isinstance(error, UnexpectedCharacters)
        place, names = Place((error.pos_in_stream or 0) + 1, 1), error.allowed or set()
        found = f"`{_short(text[place.column - 1])}`"
    expected = sorted({_EXPECTED.get(name, f"`{name.lower()}`") for name in names})
    suggestion = _HABITS.get(text[place.column - 1 : place.column])
    return _refusal(text, "selector.syntax", f"Expected {' or '.join(expected)}, not {found}.", place, suggestion)


def _refusal(text: str, code: str, message: str, place: Place, suggestion: str | None = None) -> Invalid:
    """Give the error that shows the line of a text with a mark under the place."""
    begin = text.rfind("\n", 0, place.column - 1) + 1
    end = text.find("\n", place.column - 1)
    line = text[begin : len(text) if end < 0 else end]
    offset = place.column - 1 - begin
    cut = max(0, offset - _SHOWN)
    shown = "".join(letter if letter.isprintable() else " " for letter in line[cut : offset + _SHOWN])
    mark = " " * (offset - cut) + "^" * max(1, min(place.length, len(shown) - (offset - cut)))
    advice = f" Did you mean {suggestion}?" if suggestion else ""
    where = {"column": place.column, "length": place.length, "suggestion": suggestion}
    wrong = {"field": "selector", "code": code, "message": f"{message}{advice}", **where}
    return Invalid(code, f"{message}{advice}\n  {shown}\n  {mark}", **where, errors=[wrong])


def _terms(expression: Expression) -> Iterator[Term]:
    match expression:
        case Term():
            yield expression
        case Not(operand=operand):
            yield from _terms(operand)
        case And(operands=operands) | Or(operands=operands):
            for operand in operands:
                yield from _terms(operand)


def _joined(kind: type[And] | type[Or], parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    operands: list[Expression] = []
    for part in parts:
        inner = part.expression
        operands += inner.operands if isinstance(inner, kind) else [inner]
    return _Part(kind(operands=tuple(operands)), max(part.depth for part in parts))


def _within(expression: Expression, weaker: Any) -> str:
    said = print_expression(expression)
    return f"({said})" if isinstance(expression, weaker) else said


def _print_term(term: Term) -> str:
    path = print_path(term.field, term.key)
    values = [_print_value(term.field, term.op, value) for value in term.values]
    if term.field.kind is Kind.BOOLEAN and term.op is Op.EQ and term.values == (True,):
        return path
    if len(values) > 1:
        return f"{path} in ({', '.join(values)})"
    return f"{path} {term.op} {values[0]}"


def _print_value(field: Field, op: Op, value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            is_name = bool(field.words) or field.name == "id"
            return value if is_name and op is not Op.HAS and _is_bare(value) else _quote(value)
        case int():
            units = [unit for unit, size in _UNITS.items() if value and value % size == 0 and "bytes" in field.name]
            return min((str(value), *(f"{value // _UNITS[unit]}{unit}" for unit in units)), key=len)
        case float():
            return repr(value)


def _is_bare(word: str) -> bool:
    return _WORD.fullmatch(word) is not None and word not in _KEYWORDS


def _quote(said: str) -> str:
    return json.dumps(said, ensure_ascii=False)


def _short(said: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in said[:41])
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


def _example(path: _Path) -> str:
    value = {Kind.TEXT: '"..."', Kind.NUMBER: "1", Kind.BOOLEAN: "true"}[path.field.kind]
    if path.field.shape is Shape.LIST:
        return f"{path.field.name} has {value}"
    key = (path.key or "name") if path.field.shape is Shape.MAP else None
    return f"{print_path(path.field, key)} == {value}"


def _span(first: Token, last: Token) -> Place:
    begin = first.start_pos or 0
    return Place(begin + 1, max(1, (last.end_pos or begin + 1) - begin))
