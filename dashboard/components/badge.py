"""Which colour a state has. The word in a badge is the word in the API's JSON."""

from enum import StrEnum
from typing import Final

from nicegui import ui


class Tone(StrEnum):
    """What a colour says."""

    GOOD = "good"
    BUSY = "busy"
    WAIT = "wait"
    WARN = "warn"
    BAD = "bad"
    OFF = "off"


_STATES: Final[dict[Tone, frozenset[str]]] = {
    Tone.GOOD: frozenset(
        {
            "active",
            "online",
            "serving",
            "succeeded",
            "closed",
            "kept",
            "passed",
            "ready",
            "good",
            "resolved",
            "delivered",
            "enabled",
            "present",
            "serves",
            "chosen",
        }
    ),
    Tone.BUSY: frozenset(
        {"running", "in_progress", "sent", "open", "learning", "downloading", "trial", "checking", "building"}
    ),
    Tone.WAIT: frozenset({"queued", "waiting", "pending", "standby"}),
    Tone.WARN: frozenset({"paused", "suspended", "lost", "flapping", "warning", "missing", "may serve"}),
    Tone.BAD: frozenset(
        {"failed", "rejected", "timed_out", "late", "refused", "firing", "critical", "does not serve", "error"}
    ),
    Tone.OFF: frozenset(
        {
            "offline",
            "canceled",
            "retired",
            "revoked",
            "expired",
            "used up",
            "inactive",
            "clean",
            "replaced",
            "disabled",
            "stopped",
            "worse",
            "out",
        }
    ),
}


def tone_of(state: str) -> Tone:
    """Give a state's colour; an unknown one is neither good nor bad.

    >>> tone_of("timed_out").value, tone_of("something new").value
    ('bad', 'wait')
    """
    return next((tone for tone, states in _STATES.items() if state in states), Tone.WAIT)


def badge(state: str, *, test_id: str = "") -> ui.label:
    """Show a state."""
    shown = ui.label(state).classes(f"badge {tone_of(state)}")
    return shown.props(f'data-testid="{test_id}"') if test_id else shown
