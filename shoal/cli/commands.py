"""`shoal commands`: ask devices for something once; each answers by an execution."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli import watch as watching
from shoal.cli.executions import attempt
from shoal.cli.options import (
    Cursor,
    Every,
    Json,
    Limit,
    Paging,
    ToAll,
    ToDevices,
    ToLabels,
    ToSelector,
    Watch,
    parse_selector,
)
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.watch import Bar
from shoal.client import Client
from shoal.schemas.executions import Command, CommandRequest, Execution
from shoal.schemas.waiting import waiting

app = typer.Typer(no_args_is_help=True, help="Ask devices for something once.")
CommandId = Annotated[str, typer.Argument(metavar="COMMAND", help="Its id.")]
_SHOWN: Final = 100

_COLUMNS: Final = (
    Column[Command](title="Command", of=lambda command: command.id),
    Column[Command](title="Name", of=lambda command: command.name),
    Column[Command](title="State", of=lambda command: command.outcome()),
    Column[Command](title="Devices", of=lambda command: command.devices, is_number=True),
    Column[Command](title="Executions", of=lambda command: command.counts, is_long=True),
    Column[Command](title="To", of=lambda command: figures.selector(command.selector), is_long=True),
    Column[Command](title="By", of=lambda command: command.created_by),
    Column[Command](title="Created", of=lambda command: command.created_at),
)
_EXECUTIONS: Final = (
    Column[Execution](title="Device", of=lambda execution: execution.device_id),
    Column[Execution](title="State", of=lambda execution: execution.state),
    Column[Execution](title="Attempt", of=lambda execution: attempt(execution), is_number=True),
    Column[Execution](
        title="Waits for",
        of=lambda execution: waiting(execution.waiting_for, datetime.now(UTC)),
        is_long=True,
        is_optional=True,
    ),
    Column[Execution](title="Code", of=lambda execution: execution.code, is_optional=True),
    Column[Execution](title="Message", of=lambda execution: execution.message, is_long=True, is_optional=True),
    Column[Execution](title="Answer", of=lambda execution: _answer(execution.result), is_long=True, is_optional=True),
    Column[Execution](title="Updated", of=lambda execution: execution.updated_at),
)


@dataclass(frozen=True)
class _Progress:
    """A command as something that can be watched."""

    command: Command

    @property
    def state(self) -> str:
        return self.command.outcome()


@app.command()
def send(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="ping, restart-agent, collect-logs, benchmark or forget-data.")
    ],
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    priority: Annotated[str, typer.Option("--priority", help="low, normal or high.")] = "high",
    expires_in_s: Annotated[
        int, typer.Option("--expires-in-s", min=10, help="Devices that do not come until then are not asked.")
    ] = 86_400,
    log_bytes: Annotated[
        int | None, typer.Option("--log-bytes", help="Of collect-logs: at most so much of the log's end; 1 MiB.")
    ] = None,
    is_agreed: Annotated[bool, typer.Option("--yes", help="Do not ask before forget-data.")] = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Give active devices a command; those that are away get it when they come."""
    request = CommandRequest.model_validate(
        {
            "name": name.replace("-", "_"),
            "selector": parse_selector(to_all, devices, labels, selector),
            "priority": priority,
            "expires_in_s": expires_in_s,
            "log_bytes": log_bytes,
        }
    )
    if request.name == "forget_data" and not is_agreed:
        question = (
            f"Delete what the devices of `{request.selector}` learn from: their local data sets, what they learned and "
            "did not send, and telemetry that waits? Nobody can bring it back."
        )
        typer.confirm(question, abort=True, err=True)
    with connect() as client:
        _follow(client, client.commands.create(request), is_watched=watch, as_json=as_json)


@app.command("list")
def list_commands(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List commands, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.commands.list(limit=limit, cursor=cursor))
    show_page(page, _COLUMNS, empty="No commands yet: give one with `shoal commands send ping --all`.", as_json=as_json)


@app.command()
def show(command: CommandId, as_json: Json = False) -> None:
    """Show a command and what its devices answered."""
    with connect() as client:
        _show(client, client.commands.show(command), as_json=as_json)


@app.command()
def watch(command: CommandId, as_json: Json = False) -> None:
    """Watch a command until all of its devices have answered; exit code 1 unless all succeeded."""
    with connect() as client:
        _follow(client, client.commands.show(command), is_watched=True, as_json=as_json)


@app.command()
def cancel(command: CommandId, as_json: Json = False) -> None:
    """Stop what is open of a command."""
    with connect() as client:
        _show(client, client.commands.cancel(command), as_json=as_json)


def _follow(client: Client, command: Command, *, is_watched: bool, as_json: bool) -> None:
    if is_watched:
        ended = watching.watch(lambda: _Progress(client.commands.show(command.id)), _bars, is_quiet=as_json)
        command = ended.command
    _show(client, command, as_json=as_json)
    if is_watched:
        watching.exit_by(command.outcome())


def _bars(seen: _Progress) -> list[Bar]:
    command = seen.command
    counts = ", ".join(f"{count} {state}" for state, count in sorted(command.counts.items()))
    return [Bar(name=command.name, share=command.ended() / command.devices if command.devices else 1.0, words=counts)]


def _show(client: Client, command: Command, *, as_json: bool) -> None:
    executions = [] if as_json else client.executions.list(owner_id=command.id, limit=_SHOWN).items
    facts: dict[str, Any] = {
        "Command": command.id,
        "Name": command.name,
        "State": command.outcome(),
        "Devices": command.devices or "none: no active device is like that",
        "Executions": command.counts,
        "To": figures.selector(command.selector),
        "By": command.created_by,
        "Created": command.created_at,
    }
    if len(executions) < command.devices and not as_json:
        facts["Shown"] = f"the newest {len(executions)}: `shoal executions list --owner {command.id}` has all"
    show_item(command, facts, Part(items=executions, columns=_EXECUTIONS), as_json=as_json)


def _answer(result: dict[str, Any]) -> str:
    uptime_s = result.get("uptime_s")
    if not isinstance(uptime_s, int | float):
        return ""
    said = [f"agent {result.get('agent_version')}, up {figures.duration(uptime_s)}"]
    log, measured, forgotten = (result.get(name) for name in ("log", "measured", "forgotten"))
    if isinstance(log, dict):
        said.append(f"sent {figures.size(log.get('size_bytes', 0))} of its log: `shoal executions log ID`")
    if isinstance(measured, dict):
        said += [_rate(name, rate) for name, rate in measured.items() if isinstance(rate, int | float)]
    if isinstance(forgotten, dict):
        said += [f"deleted {figures.size(size)} of {kind}" for kind, size in forgotten.items()]
    return ", ".join(said)


def _rate(name: str, rate: float) -> str:
    """Say what a device measured of itself.

    >>> _rate("fp32_macs_per_s", 1.25e10), _rate("memory_bytes_per_s", 2**30)
    ('fp32 12.5 GMAC/s', 'memory 1.0 GiB/s')
    """
    if name.endswith("_macs_per_s"):
        return f"{name.removesuffix('_macs_per_s')} {rate / 1e9:.3g} GMAC/s"
    return f"{name.removesuffix('_bytes_per_s').replace('_', ' ')} {figures.size(rate)}/s"
