"""Why an execution does not move, in words: said once, for the dashboard and the command line. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))


def waiting(waiting_for: Mapping[str, Any], now: datetime) -> str:
    """Say why an execution does not move; empty where it waits for nothing. An unknown code is said as it came.

    >>> waiting({"code": "device_busy", "kind": "command", "limit": 4}, datetime.now())
    'device busy: it does 4 commands at a time'
    >>> waiting({"code": "window_closed"}, datetime.now())
    'window closed'
    """
    code = str(waiting_for.get("code") or "")
    if not code:
        return ""
    since, at = _moment(waiting_for.get("since")), _moment(waiting_for.get("at"))
    passed_s = (now - since).total_seconds() if since else 0.0
    passed = f" for {_span(passed_s)}" if passed_s >= 1 else ""
    if code == "device_answer":
        return f"device has not answered{passed}"
    if code == "device_busy":
        return f"device busy{_lane(waiting_for)}"
    if code == "device_suspended":
        reason = str(waiting_for.get("reason") or "")
        return f"device suspended{passed}" + (f": {reason}" if reason else "")
    if code == "retry_at" and at:
        cause = str(waiting_for.get("cause") or "")
        return f"retry {_ahead(at, now)}" + (f" after {cause}" if cause else "")
    if code == "wave":
        return "its wave"
    return code.replace("_", " ").replace(".", ": ") + passed


def _lane(waiting_for: Mapping[str, Any]) -> str:
    kind, limit = str(waiting_for.get("kind") or "").replace("_", " "), waiting_for.get("limit")
    if not kind or not isinstance(limit, int) or limit < 1:
        return ""
    return f": it does {limit} {kind}{'s' if limit > 1 else ''} at a time"


def _moment(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None


def _ahead(at: datetime, now: datetime) -> str:
    seconds = (at - now).total_seconds()
    return "now" if seconds < 1 else f"in {_span(seconds)}"


def _span(seconds: float) -> str:
    for size_s, unit in _UNITS:
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{int(seconds)} s"
