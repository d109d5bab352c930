"""The selector language: what is read, how it is spelled, and where a mistake is shown."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.devices.selector_fields import FIELDS, MEANINGS, Kind, Shape
from controller.devices.selector_language import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_TERMS,
    All,
    And,
    Expression,
    Not,
    Op,
    Or,
    Selector,
    Term,
    parse,
)
from controller.errors import Invalid
from tests.selecting import expressions

DOCUMENT = (Path(__file__).resolve().parents[4] / "docs/selectors.md").read_text()
ISSUE = (
    'labels.site == "lyon" and facts.memory_bytes >= 2GiB and facts.isa has "dotprod" '
    "and not state in (suspended, retired)"
)


def refused(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize("name", FIELDS)
def test_fields_when_listed_then_each_says_what_it_means_and_stands_in_the_documentation(name: str) -> None:
    assert MEANINGS[name].endswith(".")
    assert name.rpartition(".")[2] in DOCUMENT.split("## Groups")[0]


@pytest.mark.parametrize("text", re.findall(r"`((?:facts|labels|group|serves|id|state)\b[^`]* [^`]*)`", DOCUMENT))
def test_example_when_the_documentation_has_it_then_is_read(text: str) -> None:
    assert parse(text)


def test_fields_when_facts_are_declared_then_have_their_types() -> None:
    found = {name: (FIELDS[name].kind, FIELDS[name].shape) for name in FIELDS}
    assert found["facts.memory_bytes"] == (Kind.NUMBER, Shape.ONE)
    assert found["facts.isa"] == (Kind.TEXT, Shape.LIST)
    assert found["facts.runtimes"] == (Kind.TEXT, Shape.MAP)
    assert found["facts.accelerators.memory_bytes"] == (Kind.NUMBER, Shape.LIST)
    assert found["facts.measured.int8_macs_per_s"] == (Kind.NUMBER, Shape.ONE)
    assert found["facts.can_train"] == (Kind.BOOLEAN, Shape.ONE)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("all", "all"),
        (" online\n", "online"),
        ("online == true", "online"),
        ("facts.can_train != true", "facts.can_train == false"),
        ("not not online", "online"),
        ("not not not online", "not online"),
        ("((online))", "online"),
        ("online and (flapping and all)", "online and flapping and all"),
        ("online or flapping and all", "online or flapping and all"),
        ("(online or flapping) and all", "(online or flapping) and all"),
        ("not (online or flapping)", "not (online or flapping)"),
        ("not online and flapping", "not online and flapping"),
        ('labels["site"]=="a"', 'labels.site == "a"'),
        ('labels.a-b == "x"', 'labels.a-b == "x"'),
        ('labels["a/b"] == "x"', 'labels["a/b"] == "x"'),
        ('labels.in == "x"', 'labels["in"] == "x"'),
        ('labels.site in ("b", "a", "b",)', 'labels.site in ("a", "b")'),
        ('labels.site in ("a")', 'labels.site == "a"'),
        ('labels.site == "\\u00e9\\n\\""', 'labels.site == "é\\n\\""'),
        ('labels has "a/b"', 'labels has "a/b"'),
        ('id in ("d-b", d-a)', "id in (d-a, d-b)"),
        ('state == "active"', "state == active"),
        ("facts.memory_bytes >= 2048 MiB", "facts.memory_bytes >= 2GiB"),
        ("facts.memory_bytes >= 1.5GiB", "facts.memory_bytes >= 1536MiB"),
        ("facts.memory_bytes >= 2000MB", "facts.memory_bytes >= 2GB"),
        ("facts.cpu_cores == 2048", "facts.cpu_cores == 2048"),
        ("facts.round_trip_s < 25e-2", "facts.round_trip_s < 0.25"),
        ("facts.temperatures_celsius.cpu > -0", "facts.temperatures_celsius.cpu > 0"),
        ('facts.runtimes has "onnxruntime"', 'facts.runtimes has "onnxruntime"'),
        ('facts.runtimes["onnxruntime"] != "1"', 'facts.runtimes.onnxruntime != "1"'),
        ('serves["digits"] == 2', "serves.digits == 2"),
        ("facts.accelerators.memory_bytes >= 8GiB", "facts.accelerators.memory_bytes >= 8GiB"),
        ("facts.interfaces.is_metered has true", "facts.interfaces.is_metered has true"),
        ('group in ("b", "a")', 'group in ("a", "b")'),
        (ISSUE, ISSUE.replace("in (suspended, retired)", "in (retired, suspended)")),
    ],
)
def test_parse_when_written_loosely_then_has_one_spelling(text: str, spelling: str) -> None:
    assert str(parse(text)) == spelling
    assert parse(spelling) == parse(text)


def test_parse_when_and_stands_beside_or_then_binds_tighter() -> None:
    a, b, c = (Term(field=FIELDS["labels"], key=key, op=Op.EQ, values=("1",)) for key in "abc")
    found = parse('labels.a == "1" or labels.b == "1" and not labels.c == "1"')
    assert found.expression == Or(operands=(a, And(operands=(b, Not(operand=c)))))
    assert found.roots == {"labels"}


@pytest.mark.parametrize(
    ("text", "code", "column", "length", "suggestion"),
    [
        ("", "selector.syntax", 1, 1, None),
        ("online and", "selector.syntax", 11, 1, None),
        ("online)", "selector.syntax", 7, 1, None),
        ("(online", "selector.syntax", 8, 1, None),
        ('labels.site = "x"', "selector.syntax", 13, 1, "=="),
        ("online && flapping", "selector.syntax", 8, 1, "and"),
        ("labels.site == 'x'", "selector.syntax", 16, 1, '"'),
        ('labels.site == "x', "selector.syntax", 16, 1, None),
        ('labels.site == "\\ud800"', "selector.syntax", 16, 8, None),
        ('labels.site == "\\u0000"', "selector.syntax", 16, 8, None),
        ("facts.memory_bytes > 2gb", "selector.syntax", 22, 1, None),
        ("online\n  and flaping", "selector.unknown_field", 14, 7, "flapping"),
        ("facts.memory_byte > 1", "selector.unknown_field", 1, 17, "facts.memory_bytes"),
        ("memory_bytes > 1", "selector.unknown_field", 1, 12, "facts.memory_bytes"),
        ('labels.a.b == "x"', "selector.unknown_field", 1, 10, 'labels["a.b"]'),
        ('facts.memory_bytes == "x"', "selector.wrong_type", 23, 3, None),
        ("facts.memory_bytes == true", "selector.wrong_type", 23, 4, None),
        ("labels.site == lyon", "selector.wrong_type", 16, 4, '"lyon"'),
        ("labels.site == 3", "selector.wrong_type", 16, 1, '"3"'),
        ('labels.site < "x"', "selector.wrong_type", 13, 1, "=="),
        ('labels == "x"', "selector.wrong_type", 1, 6, 'labels.name == "..."'),
        ('labels.site has "x"', "selector.wrong_type", 13, 3, "=="),
        ('facts.isa == "x"', "selector.wrong_type", 11, 2, "has"),
        ('facts.isa["x"] == "y"', "selector.wrong_type", 1, 14, "facts.isa"),
        ("facts.isa", "selector.wrong_type", 1, 9, 'facts.isa has "..."'),
        ("online == 1", "selector.wrong_type", 11, 1, None),
        ("online in (true)", "selector.wrong_type", 1, 6, None),
        ("state == actve", "selector.wrong_type", 10, 5, "active"),
        ('state in (active, "x")', "selector.wrong_type", 19, 3, None),
        ('group != "x"', "selector.wrong_type", 7, 2, None),
        ("facts.round_trip_s < 1e999", "selector.wrong_type", 22, 5, None),
        ("(" * (MAX_DEPTH + 1) + "online" + ")" * (MAX_DEPTH + 1), "selector.too_deep", 1, 1, None),
        ("not " * (MAX_DEPTH + 1) + "online", "selector.too_deep", 1, 3, None),
        (" or ".join(["online"] * (MAX_TERMS + 1)), "selector.too_long", MAX_TERMS * 10 + 1, 6, None),
        ("a" * (MAX_LENGTH + 1), "selector.too_long", MAX_LENGTH + 1, 1, None),
    ],
)
def test_parse_when_wrong_then_points_at_the_place(
    text: str, code: str, column: int, length: int, suggestion: str | None
) -> None:
    error = refused(text)
    assert error.code == code
    assert (error.facts["column"], error.facts["length"], error.facts["suggestion"]) == (column, length, suggestion)
    (told,) = error.facts["errors"]
    assert (told["column"], told["code"]) == (column, code)


def test_parse_when_wrong_then_the_message_shows_the_line_with_a_mark_under_the_place() -> None:
    assert str(refused('online and\n  label.site == "lyon"')) == (
        'There is no field label.site. Did you mean labels.site?\n    label.site == "lyon"\n    ^^^^^^^^^^'
    )


def test_parse_when_ten_thousand_parentheses_or_nots_then_is_refused_and_not_slow() -> None:
    assert refused("(" * 8000 + "online" + ")" * 8000).code == "selector.too_deep"
    assert refused("not " * 4000 + "online").code == "selector.too_deep"
    assert refused("(" * 16_000).code == "selector.syntax"


def test_parse_when_many_ids_are_named_then_is_read() -> None:
    ids = [f"d-{number:04}" for number in range(1000)]
    (term,) = parse(f"id in ({', '.join(ids)})").terms
    assert term.values == tuple(ids)


@given(expressions())
def test_spelling_when_read_again_then_is_the_same_tree(expression: Expression) -> None:
    text = str(Selector(expression, ""))
    again = parse(text)
    assert again.expression == expression
    assert str(again) == text


WORDS = st.sampled_from(
    [
        *FIELDS,
        *("all", "and", "or", "not", "in", "has", "true", "false", "(", ")", ",", ".", "[", "]"),
        *("==", "!=", "<", "<=", ">", ">=", "=", "2GiB", "-1", "1e9", '"x"', '"\\u0041"', '"\\'),
        *("labels.site", 'labels["a b"]', "active", "d-a"),
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join)))
@example("\ud800")
@example('labels.x == "\x7f"')
@example("1e")
def test_parse_when_given_anything_then_reads_it_or_refuses_with_a_place(text: str) -> None:
    try:
        found = parse(text)
    except Invalid as error:
        assert error.code.startswith("selector.")
        assert 1 <= error.facts["column"] <= len(text) + 1
        assert error.facts["length"] >= 1
        assert error.message.encode()
    else:
        assert parse(str(found)) == found


def test_all_when_combined_then_watches_nothing() -> None:
    assert parse("all").expression == All()
    assert parse("all or not all").roots == frozenset()
