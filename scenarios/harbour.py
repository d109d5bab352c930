"""Where each voyage begins: the system is started, and the operator is logged in."""

from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from scenarios import fleet, stage
from scenarios.fleet import Address
from scenarios.stage import Stage
from shoal.client import Client


def leave(opened: ExitStack, show: Stage, console: Console, state: Path, dashboard_port: int) -> tuple[Address, Client]:
    """Start the system on embedded defaults, say where its dashboard is, and log in; all of it ends with `opened`.

    Args:
        state: Folder of all that is kept; it is cleared before.
        dashboard_port: Any free one is taken if it is in use.
    """
    opened.enter_context(stage.clean_folder(state))
    ports = stage.free_ports(["api", "device", "broker", "dashboard"], {"dashboard": dashboard_port})
    show.step("Start the system on embedded defaults")
    with show.bar("starting") as shown:
        shown(0.1, "broker, controller, dashboard")
        address = opened.enter_context(fleet.system(state / "controller", ports))
    console.print(f"    Dashboard  [bold]{address.dashboard_url}[/]", highlight=False)
    console.print(f"    Log in as  [bold]{address.username}[/] / [bold]{address.password}[/]", highlight=False)
    with Client(address.api_url) as anonymous:
        token = anonymous.tokens.create(address.username, address.password, name="demo").token
    return address, opened.enter_context(Client(address.api_url, token))
