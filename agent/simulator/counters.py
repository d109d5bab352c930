"""What a virtual fleet has done so far, as whoever started it is told: one JSON line a second."""

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

import msgspec

_TOLD_TROUBLES: Final = 20  # of one code, by name; the rest is counted


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong, at whom."""

    device: str
    code: str
    message: str


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """The counts.

    Attributes:
        joined: Devices that have begun to enrol or to connect.
        refused: Devices that the controller refused for good.
        away: Devices that have lost their connection on purpose.
        sessions: Begun so far; more than devices where some came back.
        executions: How many ended, by `kind.state`.
        codes: How often something went wrong, by code.
        troubles: What is new since the line before, at most 20 of a code.
    """

    elapsed_s: float
    devices: int
    joined: int
    enrolled: int
    online: int
    away: int
    refused: int
    sessions: int
    restarts: int
    telemetry: int
    messages: int
    downloaded_bytes: int
    executions: dict[str, int]
    codes: dict[str, int]
    troubles: list[Trouble] = []


class Counters:
    """The counts of one process; used by its loop's thread, `fail` by others too."""

    def __init__(self, devices: int) -> None:
        self._began = time.monotonic()
        self.devices = devices
        self.joined = 0
        self.enrolled = 0
        self.online = 0
        self.away = 0
        self.refused = 0
        self.sessions = 0
        self.restarts = 0
        self.telemetry = 0
        self.messages = 0
        self.downloaded_bytes = 0
        self.executions: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self._troubles: deque[Trouble] = deque(maxlen=200)

    def fail(self, device: str, code: str, message: str) -> None:
        """Count that something went wrong, and tell the first ones by name."""
        self.codes[code] += 1
        if self.codes[code] <= _TOLD_TROUBLES:
            self._troubles.append(Trouble(device=device, code=code, message=message[:500]))

    def take(self) -> Progress:
        """Give how it stands, with the troubles that are new."""
        troubles = [self._troubles.popleft() for _ in range(len(self._troubles))]
        return Progress(
            elapsed_s=round(time.monotonic() - self._began, 1),
            devices=self.devices,
            joined=self.joined,
            enrolled=self.enrolled,
            online=self.online,
            away=self.away,
            refused=self.refused,
            sessions=self.sessions,
            restarts=self.restarts,
            telemetry=self.telemetry,
            messages=self.messages,
            downloaded_bytes=self.downloaded_bytes,
            executions=dict(self.executions),
            codes=dict(self.codes),
            troubles=troubles,
        )


def add(parts: list[Progress]) -> Progress:
    """Give the counts of several processes together."""
    total: dict[str, int] = {
        name: sum(getattr(part, name) for part in parts)
        for name in Progress.__struct_fields__
        if name not in ("elapsed_s", "executions", "codes", "troubles")
    }
    return Progress(
        elapsed_s=max(part.elapsed_s for part in parts),
        executions=_sum(part.executions for part in parts),
        codes=_sum(part.codes for part in parts),
        troubles=[trouble for part in parts for trouble in part.troubles],
        **total,
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
