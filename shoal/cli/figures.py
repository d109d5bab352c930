"""Figures as people read them in a terminal. Pure."""

import math
import re
from datetime import UTC, datetime
from typing import Any, Final

ABSENT: Final = "–"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))
_KIB: Final = 1024
# A controller may say what a device said: nothing of it may steer the terminal, or turn the line around.
_UNPRINTABLE: Final = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def text(value: Any, now: datetime | None = None) -> str:
    """Say any value in one cell.

    >>> text(None), text(True), text(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 3, tzinfo=UTC))
    ('–', 'yes', '3 min ago')
    >>> text({"site": "lyon", "gpu": "no"}), text([1, 8, 8]), text("a\\x1b[2Jb")
    ('gpu=no, site=lyon', '1, 8, 8', 'a?[2Jb')
    """
    if value in (None, "", [], {}):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return age(value, now or datetime.now(UTC))
    if isinstance(value, dict):
        return ", ".join(f"{text(name)}={text(said)}" for name, said in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ("\n" if any(isinstance(one, dict) for one in value) else ", ").join(text(one) for one in value)
    return printable(str(value))


def printable(said: str) -> str:
    """Give a text that cannot steer the terminal.

    >>> printable("a\\x1b[2Jb\\n")
    'a?[2Jb\\n'
    """
    return _UNPRINTABLE.sub("?", said)


def age(at: datetime, now: datetime) -> str:
    """Say how far away a time is.

    >>> now = datetime(2026, 1, 2, tzinfo=UTC)
    >>> age(datetime(2026, 1, 1, 21, tzinfo=UTC), now), age(datetime(2026, 1, 9, tzinfo=UTC), now), age(now, now)
    ('3 h ago', 'in 7 d', 'now')
    """
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    # What lies ahead is rounded up: a day from now is not 23 hours when it is shown a moment later.
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(math.ceil(-seconds / 60) * 60)}"


def duration(seconds: float) -> str:
    """Say a duration in its largest whole unit.

    >>> duration(0.0312), duration(59.9), duration(7300)
    ('31 ms', '59 s', '2 h')
    """
    for size_s, unit in _UNITS:
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{int(seconds)} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def size(size_bytes: float) -> str:
    """Say a size.

    >>> size(512), size(700_416), size(5 * 2**30)
    ('512 B', '684.0 KiB', '5.0 GiB')
    """
    if size_bytes < _KIB:
        return f"{size_bytes:.0f} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(size_bytes, _KIB)), len(units))
    return f"{size_bytes / _KIB**power:.1f} {units[power - 1]}"


def percent(ratio: float | None) -> str:
    """Say a ratio, 0..1, in percent.

    >>> percent(0.9914), percent(None)
    ('99.1 %', '–')
    """
    return ABSENT if ratio is None else f"{100 * ratio:.1f} %"


def selector(text: str) -> str:
    """Say which devices a selector means.

    >>> selector("all"), selector("online")
    ('all devices', 'online')
    """
    return "all devices" if text == "all" else text


def moment(said: object) -> datetime | None:
    """Read a time from JSON, None where it is none.

    >>> moment("2026-01-02T00:00:00+00:00"), moment("soon")
    (datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc), None)
    """
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None
