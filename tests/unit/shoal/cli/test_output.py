"""Tables that cut nothing off, JSON that is one document, errors that are one sentence."""

import errno
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from shoal.cli import output
from shoal.cli.errors import CliError
from shoal.cli.output import Column, Part
from shoal.client import ApiError, Unreachable
from shoal.schemas.common import Page
from shoal.schemas.devices import EnrollmentToken, EnrollmentTokenRequest

COLUMNS = (
    Column[dict[str, str]](title="Id", of=lambda item: item["id"]),
    Column[dict[str, str]](title="Message", of=lambda item: item.get("message"), is_long=True),
    Column[dict[str, str]](title="Code", of=lambda item: item.get("code"), is_optional=True),
)
ID = "01a2142e-c7a6-74cb-a2e2-85ad918999c5"


def drawn(items: list[dict[str, str]], width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(output.table(items, COLUMNS, width))
    return captured.get()


def test_table_when_there_is_room_then_is_one_line_an_item() -> None:
    lines = drawn([{"id": ID, "message": "fine"}, {"id": ID}], 100).splitlines()
    assert [line.split() for line in lines] == [["Id", "Message"], ["─" * 45], [ID, "fine"], [ID, "–"]]


def test_table_when_an_optional_column_has_something_then_shows_it() -> None:
    assert "golden.failed" in drawn([{"id": ID}, {"id": ID, "code": "golden.failed"}], 100)


@pytest.mark.parametrize("width", [100, 60, 40, 20])
def test_table_when_lines_are_short_then_loses_nothing(width: int) -> None:
    message = "the device answered in words of some length"
    said = drawn([{"id": ID, "message": message, "code": "golden.failed"}], width)
    letters = "".join(character for character in said if not character.isspace())
    assert all(part in letters for part in [*message.split(), "golden.failed"])
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= width


def test_table_when_a_value_has_escape_sequences_then_they_are_not_printed() -> None:
    assert "\x1b" not in drawn([{"id": "a\x1b[2J\x9b31m\rb", "message": "[bold]x[/bold]"}], 100)


def test_table_when_a_value_looks_like_markup_then_stays_as_it_is() -> None:
    assert "[bold]x[/bold]" in drawn([{"id": "a", "message": "[bold]x[/bold]"}], 100)


def test_list_when_empty_then_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    empty: Page[dict[str, str]] = Page(items=[])
    output.show_page(empty, COLUMNS, empty="No items yet: make one.", as_json=False)
    assert capsys.readouterr().out == "No items yet: make one.\n"


def test_list_when_json_is_wanted_then_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    page = Page[dict[str, str]](items=[{"id": "a"}], next_cursor="b", total=2)
    output.show_page(page, COLUMNS, empty="", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"items": [{"id": "a"}], "next_cursor": "b", "total": 2}


def test_list_when_there_is_more_then_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    page = Page[dict[str, str]](items=[{"id": "a"}], next_cursor="NEXT", total=7)
    output.show_page(page, COLUMNS, empty="", as_json=False)
    assert "1 of 7 shown. Next: --cursor NEXT, or all with --all." in capsys.readouterr().out


def test_item_when_shown_then_its_parts_follow_and_what_is_copied_stays_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    token = EnrollmentToken(
        id="t",
        name="",
        labels={},
        needs_approval=False,
        max_uses=1,
        uses=0,
        created_at=at,
        expires_at=at,
        revoked_at=None,
    )
    secret = "x" * 100
    part = Part(items=[{"id": "a"}], columns=COLUMNS)
    output.show_item(token, {"Id": token.id, "Labels": token.labels}, part, to_copy=[secret], as_json=False)
    said = capsys.readouterr().out.splitlines()
    assert [line.split() for line in said[:2]] == [["Id", "t"], ["Labels", "–"]]
    assert said[-1] == secret


def invalid_request() -> Exception:
    with pytest.raises(ValueError) as raised:
        EnrollmentTokenRequest(max_uses=0)
    return raised.value


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (
            ApiError(404, "device.not_found", "There is no device.", "r", []),
            1,
            "There is no device. [device.not_found]",
        ),
        (
            ApiError(422, "request.invalid", "Wrong.", "r", [{"field": "a", "code": "c", "message": "m"}]),
            1,
            "Wrong. (a: m) [request.invalid]",
        ),
        (
            ApiError(401, "auth.token_expired", "It has expired.", "r", []),
            1,
            "It has expired. Run `shoal login`. [auth.token_expired]",
        ),
        (Unreachable("Nobody answers."), 1, "Nobody answers. See SHOAL_URL. [client.unreachable]"),
        (CliError("port.in_use", "Port 1 is in use."), 1, "Port 1 is in use. [port.in_use]"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.npy"), 1, "a.npy: No such file. [file.unusable]"),
        (OSError(errno.ENOSPC, "No space", "a.npy"), 1, "a.npy: The disk is full: make room. [disk.full]"),
        (
            invalid_request(),
            2,
            "max_uses: Input should be greater than or equal to 1. [request.invalid]",
        ),
    ],
)
def test_error_when_it_ends_a_command_then_is_one_sentence_with_its_code(
    error: Exception, code: int, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOAL_TOKEN", raising=False)
    assert output.fail(error) == code
    assert capsys.readouterr().err == f"{sentence}\n"


def test_error_when_the_token_came_from_the_environment_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_TOKEN", "x")
    error = ApiError(401, "auth.wrong_token", "It is not known.", "r", [])
    assert output.sentence(error) == "It is not known. That is the token in SHOAL_TOKEN. [auth.wrong_token]"
