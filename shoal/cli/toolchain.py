"""`shoal toolchain`: the converters' own Python, on a machine that runs jobs."""

import time
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from shoal import toolchain
from shoal.cli import figures, output
from shoal.cli.errors import CliError
from shoal.cli.options import Json
from shoal.toolchain import ToolchainError

app = typer.Typer(no_args_is_help=True, help="The converters' own Python, where jobs run.")

_LINE_S: Final = 10.0  # between two lines of progress where no terminal shows a bar


@app.command()
def install(as_json: Json = False) -> None:
    """Install the converters of LiteRT, ExecuTorch, OpenVINO int8 and Arm NN (about 3 GiB, a few minutes)."""
    try:
        with _Bar() as bar:
            path = toolchain.install(bar.show)
    except ToolchainError as error:
        raise CliError(error.code, str(error)) from error
    output.show_done(f"The toolchain is installed: {path}", {"python": str(path)}, as_json=as_json)


@app.command()
def show(as_json: Json = False) -> None:
    """Show whether the toolchain is there, where, and what it is made of."""
    try:
        folder, python = toolchain.location(), toolchain.python()
        packages = toolchain.requirements()
    except ToolchainError as error:
        raise CliError(error.code, str(error)) from error
    is_override = toolchain.override() is not None
    facts: dict[str, Any] = {
        "installed": python is not None,
        "python": str(python) if python is not None else None,
        "folder": None if is_override else str(folder),
        "size_bytes": toolchain.size_bytes(folder) if folder.is_dir() and not is_override else None,
        "packages": packages,
    }
    if as_json:
        output.show_done("", facts, as_json=True)
        return
    if python is None:
        output.show_done(toolchain.missing(), facts, as_json=False)
        raise typer.Exit(output.FAILED)
    size = f" ({figures.size(facts['size_bytes'])})" if facts["size_bytes"] is not None else ""
    output.show_done(f"{python}{size}\n{', '.join(packages)}", facts, as_json=False)


@app.command()
def remove(
    is_agreed: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove the toolchain, and those of earlier releases."""
    if not is_agreed and not as_json:
        typer.confirm("Remove the converters' toolchain?", abort=True, err=True)
    try:
        freed = toolchain.remove()
    except ToolchainError as error:
        raise CliError(error.code, str(error)) from error
    output.show_done(f"Removed; {figures.size(freed)} came free.", {"freed_bytes": freed}, as_json=as_json)


class _Bar:
    """Progress on standard error: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        console = output.console(is_error=True)
        self._is_terminal = console.is_terminal
        self._said = 0.0
        self._progress = Progress(
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", style="dim", markup=False),
            console=console,
        )
        self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> "_Bar":
        if self._is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal:
            self._progress.stop()

    def show(self, share: float, words: str) -> None:
        """Show how far it is."""
        if self._is_terminal:
            self._progress.update(self._task, completed=share, description=words)
        elif time.monotonic() - self._said >= _LINE_S:
            self._said = time.monotonic()
            output.say(f"{share:.0%} {words}")
