"""Figures as people read them: ages, durations, sizes, shares, counts. Pure."""

from datetime import datetime
from typing import Final

ABSENT: Final = "–"
_KIB: Final = 1024
_UUID_LENGTH: Final = 36
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))


def age(at: datetime | None, now: datetime) -> str:
    """Say how long ago something was; a clock that is a little ahead reads as now.

    >>> from datetime import UTC, timedelta
    >>> now = datetime(2026, 1, 2, tzinfo=UTC)
    >>> [age(now - timedelta(seconds=s), now) for s in (0, 40, 200, 7300, 200000)]
    ['now', '40 s ago', '3 min ago', '2 h ago', '2 d ago']
    """
    if at is None:
        return ABSENT
    seconds = (now - at).total_seconds()
    return "now" if seconds < 1 else f"{span(seconds)} ago"


def ahead(at: datetime, now: datetime) -> str:
    """Say how far off something is.

    >>> from datetime import UTC, timedelta
    >>> now = datetime(2026, 1, 2, tzinfo=UTC)
    >>> ahead(now + timedelta(seconds=90), now), ahead(now, now)
    ('in 1 min', 'now')
    """
    seconds = (at - now).total_seconds()
    return "now" if seconds < 1 else f"in {span(seconds)}"


def span(seconds: float) -> str:
    """Say a duration in its largest whole unit.

    >>> span(59.9), span(60), span(86400 * 3)
    ('59 s', '1 min', '3 d')
    """
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"


def duration(seconds: float | None) -> str:
    """Say a measured duration.

    >>> duration(0.034), duration(3.21), duration(75), duration(None)
    ('34 ms', '3.2 s', '1 min 15 s', '–')
    """
    if seconds is None:
        return ABSENT
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(size_bytes: int | None) -> str:
    """Say a size.

    >>> size(512), size(700_416), size(5 * 2**30), size(None)
    ('512 B', '684 KiB', '5.0 GiB', '–')
    """
    if size_bytes is None:
        return ABSENT
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < _KIB or unit == "TiB":
            break
        amount /= _KIB
    return f"{amount:.0f} {unit}" if amount >= 100 or unit == "B" else f"{amount:.1f} {unit}"


def ratio(share: float | None) -> str:
    """Say a share, 0..1, in percent.

    >>> ratio(0.9914), ratio(1.0), ratio(None)
    ('99.1%', '100%', '–')
    """
    if share is None:
        return ABSENT
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def count(number: int | None) -> str:
    """Say how many.

    >>> count(100000)
    '100,000'
    """
    return ABSENT if number is None else f"{number:,}"


def milliseconds(latency_ms: float | None) -> str:
    """Say a latency.

    >>> milliseconds(0.0653), milliseconds(12.4)
    ('0.065 ms', '12.4 ms')
    """
    if latency_ms is None:
        return ABSENT
    return f"{latency_ms:.1f} ms" if latency_ms >= 10 else f"{latency_ms:.3f} ms"


def tail(identifier: str) -> str:
    """Shorten a UUID to its random end, as the beginning is only the time; names and device ids stay whole.

    >>> tail("0199f3c2-1111-7222-8333-0123456789ab"), tail("d-asuaylnyppazmutt")
    ('…456789ab', 'd-asuaylnyppazmutt')
    """
    return f"…{identifier[-8:]}" if len(identifier) == _UUID_LENGTH and identifier.count("-") == 4 else identifier


def moment(text: object) -> datetime | None:
    """Read a time from the API's JSON, None where it is none.

    >>> moment("2026-01-02T00:00:00+00:00"), moment("soon"), moment(None)
    (datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc), None, None)
    """
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None
