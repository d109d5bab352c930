"""What can stand where somebody types in a selector. Pure.

A helper for typing, no judge: it reads what stands before the cursor loosely, and what it does not understand gets no
offers. The controller alone decides whether a selector is right.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shoal.schemas.groups import SelectorField

MAX_OPTIONS: Final = 40
_TOKEN: Final = re.compile(
    r"""
      (?P<text>"(?:[^"\\]|\\.)*"?)
    | (?P<word>[A-Za-z_][\w.\-]*(?:\["(?:[^"\\]|\\.)*"?\]?[\w.\-]*)*)
    | (?P<number>[-+]?\d[\w.\-]*)
    | (?P<sign>==|!=|<=|>=|[<>(),])
    """,
    re.VERBOSE,
)
_TEXT_SIGNS: Final = ("==", "!=")
_NUMBER_SIGNS: Final = (">=", "<=", "==", "!=", ">", "<")
_WORDS: Final = frozenset({"state"})  # what is written without quotes
_MEANINGS: Final = {
    "==": "is equal to",
    "!=": "is there, and is not equal to",
    ">=": "is at least",
    "<=": "is at most",
    ">": "is more than",
    "<": "is less than",
    "has": "contains",
    "in (": "is one of",
    "and": "both must hold",
    "or": "one must hold",
    ")": "",
    "not": "must not hold",
    "all": "every device",
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """Something that can stand there; `insert` replaces what stands between a completion's `begin` and `end`."""

    insert: str
    label: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What can stand at a place in a text; no options where nothing is known."""

    begin: int
    end: int
    options: tuple[Option, ...]


class _Place(StrEnum):
    OPERAND = "operand"
    OPERATOR = "operator"
    LIST = "list"
    LIST_VALUE = "list_value"
    LIST_NEXT = "list_next"
    VALUE = "value"
    JOINT = "joint"


@dataclass(frozen=True, kw_only=True)
class _Where:
    """How far a selector was read.

    Attributes:
        path: Of what is compared.
        depth: Parentheses that are open.
    """

    place: _Place = _Place.OPERAND
    path: str = ""
    depth: int = 0


def complete(text: str, cursor: int, fields: Sequence[SelectorField]) -> Completion:
    """Say what can stand at `cursor`, the best first.

    >>> site = SelectorField(path="labels.site", type="text", meaning="", values=["lyon", "oslo"])
    >>> [option.insert for option in complete("lab", 3, [site]).options]
    ['labels.site ']
    >>> [option.label for option in complete("labels.site == ", 15, [site]).options]
    ['"lyon"', '"oslo"']
    """
    known = {field.path: field for field in fields}
    where, begin, end = _Where(), cursor, cursor
    for match in _TOKEN.finditer(text):
        if match.start() >= cursor:
            break
        if match.end() >= cursor and match["sign"] is None:
            begin, end = match.span()
            break
        where = _step(where, match, known)
    typed = text[begin:cursor]
    return Completion(begin=begin, end=end, options=tuple(_matching(_options(where, known), typed))[:MAX_OPTIONS])


def _step(where: _Where, token: re.Match[str], known: Mapping[str, SelectorField]) -> _Where:
    """Read one token more."""
    word = token[0]
    place, path, depth = where.place, where.path, where.depth
    match place:
        case _Place.OPERAND if word == "(":
            depth += 1
        case _Place.OPERAND if word == "not":
            pass
        case _Place.OPERAND:
            field = known.get(word)
            is_whole = word == "all" or (field is not None and field.type == "boolean")
            place, path = (_Place.JOINT if is_whole else _Place.OPERATOR), word
        case _Place.OPERATOR:
            place = _Place.LIST if word == "in" else place if word == "not" else _Place.VALUE
        case _Place.LIST:
            place = _Place.LIST_VALUE
        case _Place.LIST_VALUE:
            place = _Place.LIST_NEXT
        case _Place.LIST_NEXT:
            place = _Place.LIST_VALUE if word == "," else _Place.JOINT
        case _Place.VALUE:
            place = _Place.JOINT
        case _Place.JOINT if word == ")":
            depth -= 1
        case _Place.JOINT:
            place = _Place.OPERAND
    return _Where(place=place, path=path, depth=depth)


def _options(where: _Where, known: Mapping[str, SelectorField]) -> Iterator[Option]:
    match where.place:
        case _Place.OPERAND:
            for field in known.values():
                yield Option(insert=f"{field.path} ", label=field.path, meaning=field.meaning)
            yield from map(_word, ("not", "all"))
        case _Place.OPERATOR:
            yield from map(_word, _operators(where.path, known))
        case _Place.LIST:
            yield Option(insert="(", label="(", meaning="begin the list")
        case _Place.LIST_VALUE:
            yield from _values(where.path, known, "")
        case _Place.LIST_NEXT:
            yield Option(insert=", ", label=",", meaning="another one")
            yield Option(insert=") ", label=")", meaning="end the list")
        case _Place.VALUE:
            yield from _values(where.path, known, " ")
        case _Place.JOINT:
            yield from map(_word, ("and", "or", *((")",) if where.depth > 0 else ())))


def _word(word: str) -> Option:
    space = "" if word.endswith("(") else " "
    return Option(insert=f"{word}{space}", label=word, meaning=_MEANINGS[word])


def _operators(path: str, known: Mapping[str, SelectorField]) -> tuple[str, ...]:
    field = known.get(path)
    if field is not None and field.type in ("list", "map"):
        return ("has",)
    return (*_TEXT_SIGNS, "in (") if field is not None and field.type == "text" else (*_NUMBER_SIGNS, "in (")


def _values(path: str, known: Mapping[str, SelectorField], after: str) -> Iterator[Option]:
    field = known.get(path)
    for value in () if field is None else field.values:
        is_bare = path in _WORDS or (field is not None and field.type == "number")
        spelled = value if is_bare else json.dumps(value, ensure_ascii=False)
        yield Option(insert=f"{spelled}{after}", label=spelled, meaning="")


def _matching(options: Iterator[Option], typed: str) -> list[Option]:
    """Give what fits the beginning that was typed: first what begins like it, then what contains it."""
    wanted = typed.strip('"').lower()
    ranked = sorted(
        (
            (not option.label.strip('"').lower().startswith(wanted), number, option)
            for number, option in enumerate(options)
            if wanted in option.label.lower() and option.label != typed
        ),
        key=lambda found: found[:2],
    )
    return [option for _, _, option in ranked]
