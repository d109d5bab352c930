import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.completion import MAX_OPTIONS, complete
from shoal.schemas.groups import SelectorField

FIELDS = [
    SelectorField(path="labels.site", type="text", meaning="A label.", values=["lyon", "oslo", 'a "b"']),
    SelectorField(path='labels["a/b"]', type="text", meaning="A label.", values=["c"]),
    SelectorField(path="state", type="text", meaning="Where it stands.", values=["active", "retired"]),
    SelectorField(path="online", type="boolean", meaning="It has a session now.", values=[]),
    SelectorField(path="facts.memory_bytes", type="number", meaning="Main memory.", values=["4294967296"]),
    SelectorField(path="facts.isa", type="list", meaning="Instruction sets.", values=["neon", "dotprod"]),
    SelectorField(path="serves", type="map", meaning="Model to version.", values=["digits"]),
]


def labels_at(text: str) -> list[str]:
    """The mark `|` is the cursor."""
    cursor = text.index("|")
    return [option.label for option in complete(text.replace("|", ""), cursor, FIELDS).options]


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("|", [*(field.path for field in FIELDS), "not", "all"]),
        ("la|", ["labels.site", 'labels["a/b"]']),
        ("mem|", ["facts.memory_bytes"]),
        ("labels.site |", ["==", "!=", "in ("]),
        ("labels.site in (|", ['"lyon"', '"oslo"', '"a \\"b\\""']),
        ('labels.site in ("lyon"|', []),
        ('labels.site in ("lyon" |', [",", ")"]),
        ('labels.site in ("lyon", "o|', ['"oslo"', '"lyon"']),
        ('labels["a/b"] == |', ['"c"']),
        ("state == |", ["active", "retired"]),
        ("facts.memory_bytes |", [">=", "<=", "==", "!=", ">", "<", "in ("]),
        ("facts.memory_bytes >= |", ["4294967296"]),
        ("facts.isa |", ["has"]),
        ("facts.isa has do|", ['"dotprod"']),
        ('serves["digits"] |', [">=", "<=", "==", "!=", ">", "<", "in ("]),
        ("serves has |", ['"digits"']),
        ("online |", ["and", "or"]),
        ("(online |", ["and", "or", ")"]),
        ("not onl|", ["online"]),
        ("all |", ["and", "or"]),
        ("online and st|", ["state"]),
        ("online and st| == active", ["state"]),
        ("state|", []),
    ],
)
def test_completion_when_the_cursor_stands_somewhere_then_offers_what_can_stand_there(
    text: str, offered: list[str]
) -> None:
    assert labels_at(text) == offered


def test_completion_when_taken_inside_a_text_then_replaces_the_whole_word() -> None:
    found = complete('labels.site == "ly" and online', 17, FIELDS)
    assert (found.begin, found.end) == (15, 19)
    assert found.options[0].insert == '"lyon" '


@given(st.text(alphabet='abl.is()[]",=<>! 12\\é', max_size=60), st.integers(0, 60))
def test_completion_when_anything_is_typed_then_replaces_within_the_text(text: str, cursor: int) -> None:
    found = complete(text, min(cursor, len(text)), FIELDS)
    assert 0 <= found.begin <= found.end <= len(text)
    assert len(found.options) <= MAX_OPTIONS
