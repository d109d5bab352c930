from datetime import UTC, datetime, timedelta

import pytest

from dashboard import format

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "now"), (0, "now"), (1, "1 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (3599, "59 min ago"),
     (3600, "1 h ago"), (86399, "23 h ago"), (86400, "1 d ago"), (400 * 86400, "400 d ago")],
)  # fmt: skip
def test_age_when_something_was_then_says_its_largest_whole_unit(seconds: float, said: str) -> None:
    assert format.age(NOW - timedelta(seconds=seconds), NOW) == said


def test_age_when_it_never_was_then_says_so() -> None:
    assert format.age(None, NOW) == format.ABSENT


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (101 * 1024, "101 KiB"), (2**20, "1.0 MiB"),
     (5 * 2**40, "5.0 TiB"), (5000 * 2**40, "5000 TiB")],
)  # fmt: skip
def test_size_when_shown_then_has_a_binary_unit(size_bytes: int, said: str) -> None:
    assert format.size(size_bytes) == said


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "0%"), (1.0, "100%"), (0.999, "99.9%"), (0.5, "50.0%"), (-0.267, "-26.7%")]
)
def test_ratio_when_shown_then_is_in_percent(share: float, said: str) -> None:
    assert format.ratio(share) == said


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-02T00:00:00", 5, None])
def test_moment_when_it_is_no_time_with_a_zone_then_is_absent(text: object) -> None:
    assert format.moment(text) is None
