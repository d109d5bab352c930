"""What a scenario shows (numbered steps, progress bars), and the state folder that it starts clean."""

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from scenarios.errors import StepFailed

T = TypeVar("T")
_LOOK_INTERVAL_S: Final = 0.1


class Stage:
    """The terminal."""

    def __init__(self, console: Console, steps: int) -> None:
        self.console = console
        self._steps = steps
        self._step = 0

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self.console.print(f"[bold cyan]{self._step}/{self._steps}[/] [bold]{title}[/]")

    def say(self, text: str) -> None:
        """Tell a result of the present step."""
        self.console.print(f"    {text}", highlight=False)

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[float, str], None]]:
        """Show a progress bar; gives what to call with 0..1 and a few words."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[words]}"),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            task = progress.add_task(what, total=1.0, words="")

            def show(share: float, words: str) -> None:
                progress.update(task, completed=share, words=words)

            yield show

    def wait(
        self, what: str, look: Callable[[], tuple[float, str, T | None]], *, timeout_s: float, alive: Callable[[], None]
    ) -> T:
        """Look until something is there, showing how far it is.

        Args:
            look: Gives a share 0..1, a few words, and the result (None: not yet).
            alive: Raises if a process that is needed has ended.

        Raises:
            StepFailed: It took longer than `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        with self.bar(what) as show:
            while True:
                share, words, result = look()
                show(share, words)
                if result is not None:
                    return result
                alive()
                if time.monotonic() > deadline:
                    raise StepFailed(f"{what}: not done after {timeout_s:.0f} s ({words}).")
                time.sleep(_LOOK_INTERVAL_S)


@contextmanager
def clean_folder(folder: Path) -> Iterator[None]:
    """Empty a scenario's state folder and hold it, so that a second run starts clean and two never share it.

    Raises:
        StepFailed: Another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.parent / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StepFailed(f"Another run uses {folder}: end it, or give another folder with --out.") from error
        shutil.rmtree(folder)
        folder.mkdir()
        yield
    finally:
        os.close(descriptor)


def free_ports(names: list[str], wanted: dict[str, int]) -> dict[str, int]:
    """Give each name a port: the wanted one if it is free, else any free one; all differ."""
    held: list[socket.socket] = []
    ports: dict[str, int] = {}
    try:
        for name in names:
            probe = socket.socket()
            held.append(probe)
            try:
                probe.bind(("127.0.0.1", wanted.get(name, 0)))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            ports[name] = int(probe.getsockname()[1])
    finally:
        for probe in held:
            probe.close()
    return ports
