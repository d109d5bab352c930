"""What a running unit says between a worker and the controller."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Said:
    """One thing that was said: progress with a message, lines of the log, values to keep, or a finished trial."""

    progress: float | None = None
    message: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)
    trial: Mapping[str, Any] | None = None
