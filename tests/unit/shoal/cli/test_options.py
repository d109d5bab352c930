"""What is typed becomes a request's part, or is a usage error that says what to write."""

import pytest
import typer

from shoal.cli.options import Paging, parse_labels, parse_selector, parse_version, parse_waves
from shoal.schemas.common import Page


@pytest.mark.parametrize(
    ("is_all", "devices", "labels", "text", "selector"),
    [
        (True, None, None, None, "all"),
        (False, ["d-a", "d-b"], None, None, 'id in ("d-a", "d-b")'),
        (False, [], ["site=lyon", "gpu=a=b"], None, 'labels["site"] == "lyon" and labels["gpu"] == "a=b"'),
        (False, None, None, "online or flapping", "online or flapping"),
        (False, ["d-a"], ['a="'], "online", '(online) and id in ("d-a") and labels["a"] == "\\""'),
    ],
)
def test_selector_when_devices_are_said_then_means_what_all_of_it_means(
    is_all: bool, devices: list[str] | None, labels: list[str] | None, text: str | None, selector: str
) -> None:
    assert parse_selector(is_all, devices, labels, text) == selector


@pytest.mark.parametrize(
    ("is_all", "devices", "labels", "text"),
    [
        (False, None, None, None),
        (True, ["d-a"], None, None),
        (True, None, ["site=lyon"], None),
        (True, None, None, "online"),
    ],
)
def test_selector_when_nothing_or_all_and_more_is_said_then_is_a_usage_error(
    is_all: bool, devices: list[str] | None, labels: list[str] | None, text: str | None
) -> None:
    with pytest.raises(typer.BadParameter, match="Say which devices"):
        parse_selector(is_all, devices, labels, text)


@pytest.mark.parametrize("said", [["site"], ["=lyon"], [""], ["site=lyon", "site=bonn"]])
def test_labels_when_malformed_or_doubled_then_is_a_usage_error(said: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        parse_labels(said)


def test_waves_when_counts_and_shares_are_mixed_then_keeps_their_order() -> None:
    waves = parse_waves(["1", "12.5%", "100%"])
    assert waves is not None
    assert [(wave.count, wave.ratio) for wave in waves] == [(1, None), (None, 0.125), (None, 1.0)]


def test_waves_when_none_are_given_then_leaves_the_default_to_the_api() -> None:
    assert parse_waves(None) is None


@pytest.mark.parametrize("said", ["0", "-1", "x", "", "%", "0%", "101%", "nan%", "1.5"])
def test_waves_when_one_is_impossible_then_is_a_usage_error(said: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no wave"):
        parse_waves(["1", said])


@pytest.mark.parametrize("said", ["digits", "digits/", "/1", "digits/x", "digits/-1", "digits/1/2", "digits/²"])
def test_version_when_malformed_then_is_a_usage_error(said: str) -> None:
    with pytest.raises(typer.BadParameter, match="MODEL/VERSION"):
        parse_version(said)


class Pages:
    """A list of seven items in pages."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str | None]] = []

    def read(self, limit: int, cursor: str | None) -> Page[int]:
        self.asked.append((limit, cursor))
        start = int(cursor or 0)
        return Page(items=list(range(start, min(start + 3, 7))), next_cursor=str(start + 3) if start + 3 < 7 else None)


def test_paging_when_all_is_wanted_then_reads_to_the_end() -> None:
    page = Paging(True, 3, None).read(Pages().read)
    assert (page.items, page.next_cursor, page.total) == (list(range(7)), None, 7)


def test_paging_when_a_page_is_wanted_then_reads_that_one() -> None:
    pages = Pages()
    page = Paging(False, 3, "3").read(pages.read)
    assert (page.items, page.next_cursor, pages.asked) == ([3, 4, 5], "6", [(3, "3")])
