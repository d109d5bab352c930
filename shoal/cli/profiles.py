"""`shoal profiles`: variants measured on devices, kept by hardware class."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
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
    parse_selector,
    parse_version,
)
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.versions import VersionName
from shoal.client import Client
from shoal.schemas.executions import Execution
from shoal.schemas.profiles import Profile, ProfileRequest, Profiling

app = typer.Typer(no_args_is_help=True, help="Variants measured on devices.")
ProfilingId = Annotated[str, typer.Argument(metavar="REQUEST")]

_COLUMNS: Final = (
    Column[Profile](title="Version", of=lambda profile: f"{profile.model}/{profile.version}"),
    Column[Profile](title="Variant", of=lambda profile: f"{profile.recipe} {profile.runtime}"),
    Column[Profile](title="Hardware", of=lambda profile: profile.hardware, is_long=True),
    Column[Profile](title="Class", of=lambda profile: profile.hardware_class),
    Column[Profile](title="Golden set", of=lambda profile: "passed" if profile.passed else "failed"),
    Column[Profile](title="Median", of=lambda profile: _ms(profile, "latency_p50_ms"), is_number=True),
    Column[Profile](title="99th", of=lambda profile: _ms(profile, "latency_p99_ms"), is_number=True),
    Column[Profile](title="Memory", of=lambda profile: _memory(profile), is_number=True),
    Column[Profile](title="Energy", of=lambda profile: _energy(profile), is_number=True, is_optional=True),
    Column[Profile](title="Measured", of=lambda profile: profile.measured_at),
)
_REQUESTS: Final = (
    Column[Profiling](title="Request", of=lambda profiling: profiling.id),
    Column[Profiling](title="Version", of=lambda profiling: f"{profiling.model}/{profiling.version}"),
    Column[Profiling](title="Executions", of=lambda profiling: profiling.executions, is_long=True),
    Column[Profiling](title="Devices", of=lambda profiling: figures.selector(profiling.selector), is_long=True),
    Column[Profiling](title="By", of=lambda profiling: profiling.created_by),
    Column[Profiling](title="Created", of=lambda profiling: profiling.created_at),
)
_EXECUTIONS: Final = (
    Column[Execution](title="Execution", of=lambda execution: execution.id),
    Column[Execution](title="Device", of=lambda execution: execution.device_id),
    Column[Execution](title="State", of=lambda execution: execution.state),
    Column[Execution](title="Code", of=lambda execution: execution.code, is_optional=True),
    Column[Execution](title="Message", of=lambda execution: execution.message, is_long=True, is_optional=True),
)


@app.command()
def create(
    version: VersionName,
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    variant: Annotated[
        list[str] | None, typer.Option("--variant", metavar="ID", help="Only this one; may be repeated.")
    ] = None,
    devices_per_class: Annotated[
        int, typer.Option("--devices-per-class", min=0, help="So many of each hardware class measure; 0: all.")
    ] = 1,
    runs: Annotated[int, typer.Option("--runs", min=10, max=10_000, help="Inferences of each measurement.")] = 200,
    as_json: Json = False,
) -> None:
    """Have devices measure the variants of a version."""
    model, number = parse_version(version)
    request = ProfileRequest(
        model=model,
        version=number,
        selector=parse_selector(to_all, devices, labels, selector),
        variants=variant or [],
        devices_per_class=devices_per_class,
        runs=runs,
    )
    with connect() as client:
        _show(client, client.profiles.create(request), as_json=as_json)


@app.command("list")
def list_profiles(
    model: Annotated[str | None, typer.Option("--model", help="Only of this model.")] = None,
    version: Annotated[int | None, typer.Option("--version", min=1, help="Only of this version.")] = None,
    hardware_class: Annotated[str | None, typer.Option("--class", help="Only of this hardware class.")] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List what hardware classes make of variants: of each the newest measurement."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.profiles.list(
                model=model, version=version, hardware_class=hardware_class, limit=limit, cursor=cursor
            )
        )
    show_page(page, _COLUMNS, empty="Nothing measured yet: start with `shoal profiles create`.", as_json=as_json)


@app.command("requests")
def list_requests(
    model: Annotated[str | None, typer.Option("--model", help="Only of this model.")] = None,
    every: Every = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List requests to measure, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(
            lambda limit, cursor: client.profiles.list_requests(model=model, limit=limit, cursor=cursor)
        )
    show_page(page, _REQUESTS, empty="No requests yet: make one with `shoal profiles create`.", as_json=as_json)


@app.command()
def show(request: ProfilingId, as_json: Json = False) -> None:
    """Show a request to measure, and how far it is."""
    with connect() as client:
        _show(client, client.profiles.show_request(request), as_json=as_json)


@app.command()
def cancel(request: ProfilingId, as_json: Json = False) -> None:
    """Stop what is open of a request; what was measured stays."""
    with connect() as client:
        _show(client, client.profiles.cancel(request), as_json=as_json)


def _show(client: Client, profiling: Profiling, *, as_json: bool) -> None:
    facts = {
        "Request": profiling.id,
        "Version": f"{profiling.model}/{profiling.version}",
        "Devices": figures.selector(profiling.selector),
        "Executions": profiling.executions,
        "By": profiling.created_by,
        "Created": profiling.created_at,
    }
    executions = [] if as_json else client.executions.list(owner_id=profiling.id, limit=200).items
    show_item(profiling, facts, Part(items=executions, columns=_EXECUTIONS), as_json=as_json)


def _ms(profile: Profile, name: str) -> Any:
    value = profile.figures.get(name)
    return None if value is None else f"{value:.3f} ms"


def _memory(profile: Profile) -> Any:
    value = profile.figures.get("peak_memory_bytes")
    return None if value is None else figures.size(value)


def _energy(profile: Profile) -> Any:
    value = profile.figures.get("energy_j")
    return None if value is None else f"{value * 1e3:.3g} mJ"
