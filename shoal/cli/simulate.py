"""`shoal simulate`: a virtual fleet in a process of its own, and how it stands."""

import json
import os
import subprocess
import sys
from collections import deque
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shoal.cli import figures, output
from shoal.cli.errors import CliError
from shoal.cli.interpreter import python
from shoal.cli.options import parse_labels
from shoal.cli.session import connect
from shoal.schemas.devices import EnrollmentTokenRequest

_STATE: Final = Path("~/.local/state/shoal/simulator")
_TOKEN: Final = "SHOAL_AGENT_TOKEN"  # noqa: S105 (a variable's name)
_MAX_TOKEN_BYTES: Final = 4096
_TOKEN_LIFE_S: Final = 86_400
_SHOWN_TROUBLES: Final = 5
_BAR_WIDTH: Final = 28
_COUNTS: Final = (
    ("Online", "online"),
    ("Enrolled", "enrolled"),
    ("Refused", "refused"),
    ("Away on purpose", "away"),
    ("Sessions begun", "sessions"),
    ("Restarts", "restarts"),
    ("Messages", "messages"),
    ("Telemetry", "telemetry"),
)


def simulate(
    devices: Annotated[int, typer.Option("--devices", min=1, max=1_000_000, help="How many there shall be.")],
    controller: Annotated[
        str, typer.Option("--controller", metavar="URL", help="The devices' door; without it, the API says where.")
    ] = "",
    token: Annotated[
        str, typer.Option("--token", help="An enrolment token; without it, one is made with your login.")
    ] = "",
    token_file: Annotated[Path | None, typer.Option("--token-file", help="Read the enrolment token from here.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="Of the devices, where the token is made here; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed is another fleet.")] = 1,
    state: Annotated[
        Path, typer.Option("--state", help="Where its keys are kept: started again, it is the same fleet.")
    ] = _STATE,
    join_rate: Annotated[float, typer.Option("--join-rate", min=0, help="Devices that join in a second; 0: all.")] = 0,
    processes: Annotated[int, typer.Option("--processes", min=1, max=64, help="Share the work.")] = 1,
    duration_s: Annotated[float, typer.Option("--duration-s", min=0, help="End after so long; 0: at Ctrl-C.")] = 0,
    profile: Annotated[Path | None, typer.Option("--profile", help="How it behaves: a TOML file.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A line of the profile, such as failure_ratio=0.05."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON each second.")] = False,
) -> None:
    """Be a fleet of virtual devices, to try or to size a controller.

    Each has its own key, certificate, session and signatures; hardware, figures and work are invented.

    Raises:
        CliError: `simulate.not_installed`, `token.unreadable`.
    """
    if find_spec("agent") is None or find_spec("paho") is None:
        raise CliError("simulate.not_installed", "The agent is not installed: pip install 'shoal[agent]'.")
    if not token and token_file is None:
        token, made_for = _make_token(devices, parse_labels(label))
        controller = controller or made_for
    elif not controller:
        raise typer.BadParameter("With a token, say where it is good: --controller URL.")
    if token_file is not None:
        token = _read_token(token_file)
    options = {
        "--devices": devices,
        "--controller": controller,
        "--seed": seed,
        "--state": state.expanduser(),
        "--join-rate": join_rate,
        "--processes": processes,
        "--duration-s": duration_s,
    }
    command = [part for name, value in options.items() for part in (name, str(value))]
    command += [part for one in setting or () for part in ("--set", one)]
    command += ["--profile", str(profile)] if profile is not None else []
    # In a session of its own: Ctrl-C reaches it only through here, once.
    process = subprocess.Popen(
        python("-m", "agent", "simulate", *command),
        env={**os.environ, _TOKEN: token},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    raise typer.Exit(_follow(process, process.stdout, as_json=as_json))


def _follow(process: subprocess.Popen[str], lines: IO[str], *, as_json: bool) -> int:
    """Show what it tells until it has ended; Ctrl-C ends it in order."""
    screen = _Screen()
    with nullcontext() if as_json else Live(console=output.console(is_error=True), auto_refresh=False) as live:
        while True:
            try:
                for line in lines:
                    if live is None:
                        sys.stdout.write(line)
                        sys.stdout.flush()
                    else:
                        screen.take(json.loads(line))
                        live.update(screen.render(), refresh=True)
                return process.wait()
            except KeyboardInterrupt:
                process.terminate()
                output.say("Saying goodbye for all devices.")


class _Screen:
    """The counts as a table, with the newest troubles under it."""

    def __init__(self) -> None:
        self._now: dict[str, Any] = {}
        self._troubles: deque[dict[str, str]] = deque(maxlen=_SHOWN_TROUBLES)

    def take(self, progress: dict[str, Any]) -> None:
        self._now = progress
        self._troubles.extend(progress["troubles"])

    def render(self) -> Group:
        now = self._now
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for title, name in _COUNTS:
            if name in ("online", "enrolled"):
                bar = Table.grid(padding=(0, 1))
                bar.add_row(
                    ProgressBar(total=now["devices"], completed=now[name], width=_BAR_WIDTH),
                    f"{now[name]} of {now['devices']}",
                )
                grid.add_row(title, bar)
            elif now[name]:
                grid.add_row(title, str(now[name]))
        if now["downloaded_bytes"]:
            grid.add_row("Downloaded", figures.size(now["downloaded_bytes"]))
        for what, count in sorted(now["executions"].items()):
            grid.add_row(what.replace(".", " "), output.cell(count))
        for code, count in sorted(now["codes"].items()):
            grid.add_row(Text(figures.text(code), style="yellow"), str(count))
        said = [
            Text(figures.text(f"{one['device']}: {one['message']} [{one['code']}]"), style="yellow")
            for one in self._troubles
        ]
        return Group(grid, *said)


def _make_token(devices: int, labels: dict[str, str]) -> tuple[str, str]:
    """Make an enrolment token for the fleet; gives it and the address of the devices' door."""
    request = EnrollmentTokenRequest(
        name="simulated fleet", labels=labels, max_uses=devices, expires_in_s=_TOKEN_LIFE_S
    )
    with connect() as client:
        made = client.enrollment_tokens.create(request)
    return made.token, made.device_url


def _read_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_TOKEN_BYTES).decode().strip()
    except UnicodeDecodeError as error:
        raise CliError("token.unreadable", f"{path} is no text; is it the right file?") from error
