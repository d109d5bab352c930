"""Watching work until it has ended: bars on standard error, and the exit code that says how it ended."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from shoal.cli import figures, output
from shoal.client import Unreachable

_LOOK_INTERVAL_S: Final = 0.5
_PATIENCE_S: Final = 60.0  # a controller that is restarted is waited for
OPEN: Final = frozenset({"queued", "running", "checking"})
_WELL: Final = frozenset({"succeeded", "ready"})
_INTERRUPTED: Final = 130


class Work(Protocol):
    """What has a state: a job, a rollout, a federated run, a command, a version that is looked at."""

    @property
    def state(self) -> str:
        """How it stands."""


Watched = TypeVar("Watched", bound=Work)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar: how far something is, 0..1, and in words."""

    name: str
    share: float
    words: str


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, bars: list[Bar]) -> None:
        for bar in bars:
            if bar.name not in self._tasks:
                self._tasks[bar.name] = self._progress.add_task(bar.name, total=1.0, words="")
            words = figures.text(bar.words) if bar.words else ""
            self._progress.update(self._tasks[bar.name], completed=bar.share, words=words)


def watch(look: Callable[[], Watched], bars: Callable[[Watched], list[Bar]], *, is_quiet: bool) -> Watched:
    """Look until the work has ended, and give it as it stands then.

    Args:
        is_quiet: Show nothing.

    Raises:
        Unreachable: The controller did not answer for a minute.
        typer.Exit: Somebody pressed Ctrl-C; the work goes on.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", style="dim", markup=False),
        console=output.console(is_error=True),
    )
    shown = _Bars(progress)
    last_answer = time.monotonic()
    try:
        with nullcontext() if is_quiet else progress:
            while True:
                try:
                    now = look()
                    last_answer = time.monotonic()
                except Unreachable:
                    if time.monotonic() - last_answer > _PATIENCE_S:
                        raise
                else:
                    shown.show(bars(now))
                    if now.state not in OPEN:
                        return now
                time.sleep(_LOOK_INTERVAL_S)
    except KeyboardInterrupt:
        output.say("Stopped watching; the work itself goes on.")
        raise typer.Exit(_INTERRUPTED) from None


def exit_by(state: str) -> None:
    """End with 1 unless the work succeeded, or goes on.

    Raises:
        typer.Exit.
    """
    if state not in OPEN | _WELL:
        raise typer.Exit(output.FAILED)
