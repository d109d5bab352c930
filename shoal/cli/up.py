"""`shoal up`: the whole system on this machine, until Ctrl-C."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from shoal.cli import output
from shoal.cli import plan as plans
from shoal.cli.errors import CliError
from shoal.cli.plan import Plan

if TYPE_CHECKING:
    from shoal.cli.system import System

_STATE: Final = Path.home() / ".local/state/shoal/controller"
# All sides come in one distribution; only an extra brings a side's libraries.
_LIBRARIES: Final = {"controller": "iotcore", "dashboard": "nicegui"}


def up(
    state: Annotated[Path, typer.Option("--state", envvar="SHOAL_STATE", help="Folder of all data.")] = _STATE,
    api_port: Annotated[int, typer.Option(envvar="SHOAL_API_PORT", min=1, max=65535, help="REST.")] = 8080,
    device_port: Annotated[
        int, typer.Option(envvar="SHOAL_DEVICE_PORT", min=1, max=65535, help="HTTPS of devices.")
    ] = 8443,
    broker_port: Annotated[int, typer.Option(min=1, max=65535, help="MQTT.")] = 1883,
    dashboard_port: Annotated[
        int, typer.Option(envvar="SHOAL_DASHBOARD_PORT", min=1, max=65535, help="The web pages.")
    ] = 8090,
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="Leave the dashboard out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when all is ready.")] = False,
) -> None:
    """Start the system on embedded defaults and stay until Ctrl-C.

    SHOAL_BROKER_URL names another broker than the embedded one; the controller's other SHOAL_* settings hold as well.
    """
    sides = ["controller"] if no_dashboard else ["controller", "dashboard"]
    missing = [side for side in sides if find_spec(side) is None or find_spec(_LIBRARIES[side]) is None]
    if missing:
        extras = ",".join(missing)
        raise CliError("up.not_installed", f"`shoal up` needs more of Shoal: pip install 'shoal[{extras}]'.")
    from shoal.cli import processes, system  # they need psutil and iotcore, which come with the controller

    environment = os.environ
    device_host = environment.get("SHOAL_DEVICE_HOST") or "127.0.0.1"
    plan = plans.Plan(
        state=state.expanduser().absolute(),
        api_host=environment.get("SHOAL_API_HOST") or "127.0.0.1",
        api_port=api_port,
        device_host=device_host,
        device_port=device_port,
        device_url=environment.get("SHOAL_DEVICE_URL") or f"https://{device_host}:{device_port}",
        broker_url=environment.get("SHOAL_BROKER_URL", ""),
        broker_port=broker_port,
        dashboard_host=environment.get("SHOAL_DASHBOARD_HOST") or "127.0.0.1",
        dashboard_port=dashboard_port,
        has_dashboard=not no_dashboard,
        is_unisolated=environment.get("SHOAL_ALLOW_UNISOLATED") not in ("0", "false"),
    )

    def work() -> int:
        if not as_json:
            # Here, where signals wait until they can be handled: whoever reads it may press Ctrl-C at once.
            output.say(f"Starting; the logs are in {plan.logs}.")
        running = system.System(plan)
        told: list[bool] = []

        def on_ready(ready: "System") -> None:
            told.append(True)
            _tell(plan, ready, as_json=as_json)

        try:
            running.run(on_ready)
        except (CliError, OSError) as error:
            if running.password is not None and not told:  # it is never shown again
                output.say(f"The first start made the user {system.USERNAME} with the password {running.password}")
            return output.fail(error)
        if not as_json:
            output.say("All has ended.")
        return 0

    with _alone(plan.state):
        plans.check_ports(plan)
        plan.logs.mkdir(exist_ok=True, mode=0o700)
        code = processes.keep(work)
    raise typer.Exit(code)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Make the state folder and hold it.

    Raises:
        CliError: `up.state_unusable`, `up.already_running`.
    """
    import fcntl  # not on Windows, where the other commands run

    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(state / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CliError(
            "up.state_unusable",
            f"The folder {state} cannot be used ({error.strerror or error}): mend that, or give another with --state.",
        ) from error
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = lock.read(32).strip() or "unknown"
            raise CliError(
                "up.already_running",
                f"Another `shoal up` (process {holder}) uses {state}: end it, or give another folder with --state.",
            ) from error
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _tell(plan: Plan, system: "System", *, as_json: bool) -> None:
    from shoal.cli.system import USERNAME

    if as_json:
        told = {
            "dashboard_url": plan.dashboard_url,
            "api_url": plan.api_url,
            "device_url": plan.device_url,
            "broker_url": plan.public_broker_url,
            "username": USERNAME,
            "password": system.password,
            "state": str(plan.state),
        }
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
        return
    password = (
        f"{system.password}   (shown this once: keep it)"
        if system.password
        else "the password shown at the first start"
    )
    lines = {
        "Dashboard": plan.dashboard_url or "left out",
        "Log in as": f"{USERNAME} / {password}",
        "REST API": f"{plan.api_url}/v1   described at {plan.api_url}/v1/docs",
        "Devices": f"{plan.device_url}, and {plan.public_broker_url} (MQTT)",
        "State": f"{plan.state} (logs in {plan.logs})",
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, said in lines.items():
        grid.add_row(name, Text(said))
    notes = [
        "Ray starts at the first job. It listens on all of this machine's interfaces, and lets in who has its token.",
        "Ctrl-C ends all of it.",
    ]
    if plan.is_unisolated:
        notes.insert(
            0,
            "SHOAL_ALLOW_UNISOLATED=1 is set: an uploaded program is code, and is opened here even where this machine "
            "cannot shut it in a sandbox. Upload only what you trust, or set it to 0.",
        )
    terminal = output.console()
    terminal.print(grid)
    bullets = Table.grid(padding=(0, 1))
    for note in notes:
        bullets.add_row("-", Text(note))
    terminal.print(bullets)
