"""`shoal demo`: sail a scenario. It takes this process's place, so that signals reach it."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.errors import CliError
from shoal.cli.interpreter import python


def sail(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Without it, the scenarios are listed.")] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="For the scenario: try --help after its name.")
    ] = None,
) -> None:
    """Sail a scenario: real data, a model, and what is measured.

    Raises:
        CliError: `scenarios.missing`.
        typer.BadParameter: There is no such scenario.
    """
    names = scenarios()
    if name is None:
        sys.stdout.write("".join(f"{one}\n" for one in names))
        return
    if name not in names:
        raise typer.BadParameter(f"There is no scenario {name!r}, but: {', '.join(names)}.")
    command = python("-m", f"scenarios.{name}", *(arguments or ()))
    os.execv(command[0], command)  # noqa: S606 (no shell is wanted)


def scenarios() -> list[str]:
    """Give the scenarios' names.

    Raises:
        CliError: `scenarios.missing`.
    """
    found = find_spec("scenarios")
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    if not folders:
        raise CliError("scenarios.missing", "The scenarios are not installed: pip install 'shoal[demo]'.")
    return sorted(path.parent.name for folder in folders for path in Path(folder).glob("*/__main__.py"))
