"""`shoal rollouts`: move devices to a version, wave by wave, on receipts."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli import watch as watching
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
    parse_waves,
)
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.watch import Bar
from shoal.client import Client
from shoal.schemas.rollouts import Rollout, RolloutRequest, RolloutTarget, Wave
from shoal.schemas.waiting import waiting

app = typer.Typer(no_args_is_help=True, help="Move devices to a version, wave by wave.")
RolloutId = Annotated[str, typer.Argument(metavar="ROLLOUT")]

_COLUMNS: Final = (
    Column[Rollout](title="Rollout", of=lambda rollout: rollout.id),
    Column[Rollout](title="Version", of=lambda rollout: f"{rollout.model}/{rollout.version}"),
    Column[Rollout](title="State", of=lambda rollout: rollout.state),
    Column[Rollout](title="Proven", of=lambda rollout: f"{rollout.succeeded} of {rollout.devices}", is_number=True),
    Column[Rollout](title="Failed", of=lambda rollout: rollout.failed, is_number=True),
    Column[Rollout](title="Devices", of=lambda rollout: figures.selector(rollout.selector), is_long=True),
    Column[Rollout](title="Created", of=lambda rollout: rollout.created_at),
)
_WAVES: Final = (
    Column[Wave](title="Wave", of=lambda wave: wave.number, is_number=True),
    Column[Wave](title="State", of=lambda wave: wave.state),
    Column[Wave](title="Devices", of=lambda wave: wave.devices, is_number=True),
    Column[Wave](title="Executions", of=lambda wave: wave.counts, is_long=True),
)
_TARGETS: Final = (
    Column[RolloutTarget](title="Device", of=lambda target: target.device_id),
    Column[RolloutTarget](title="Wave", of=lambda target: target.wave, is_number=True),
    Column[RolloutTarget](title="Variant", of=lambda target: f"{target.recipe} {target.runtime}"),
    Column[RolloutTarget](title="State", of=lambda target: target.state),
    Column[RolloutTarget](title="Receipt", of=lambda target: target.receipt_id is not None),
    Column[RolloutTarget](
        title="Waits for",
        of=lambda target: waiting(target.waiting_for, datetime.now(UTC)),
        is_long=True,
        is_optional=True,
    ),
    Column[RolloutTarget](title="Message", of=lambda target: target.message, is_long=True, is_optional=True),
)


@app.command()
def create(
    model: Annotated[str, typer.Option("--model", help="The model.")],
    version: Annotated[int, typer.Option("--version", min=1, help="Its version.")],
    to_all: ToAll = False,
    devices: ToDevices = None,
    labels: ToLabels = None,
    selector: ToSelector = None,
    wave: Annotated[
        list[str] | None,
        typer.Option(
            "--wave", metavar="N|N%", help="Devices of a wave, a count or a share; repeated. Without it: 1, then all."
        ),
    ] = None,
    error_limit: Annotated[float, typer.Option("--error-limit", min=0, max=1, help="Ratio of failures allowed.")] = 0.0,
    accuracy_drop_limit: Annotated[
        float, typer.Option("--accuracy-drop-limit", min=0, max=1, help="How much less accurate a variant may be.")
    ] = 0.02,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Start a rollout."""
    named = {
        "model": model,
        "version": version,
        "selector": parse_selector(to_all, devices, labels, selector),
        "error_ratio_limit": error_limit,
        "accuracy_drop_limit": accuracy_drop_limit,
    }
    waves = parse_waves(wave)
    request = RolloutRequest.model_validate(named if waves is None else {**named, "waves": waves})
    with connect() as client:
        _follow(client, client.rollouts.create(request), is_watched=watch, as_json=as_json)


@app.command("list")
def list_rollouts(every: Every = False, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List rollouts, newest first."""
    with connect() as client:
        page = Paging(every, limit, cursor).read(lambda limit, cursor: client.rollouts.list(limit=limit, cursor=cursor))
    show_page(page, _COLUMNS, empty="No rollouts yet: start one with `shoal rollouts create`.", as_json=as_json)


@app.command()
def show(rollout: RolloutId, as_json: Json = False) -> None:
    """Show a rollout and its waves."""
    with connect() as client:
        _show(client.rollouts.show(rollout), as_json=as_json)


@app.command()
def watch(rollout: RolloutId, as_json: Json = False) -> None:
    """Watch a rollout until it has ended; exit code 1 unless it succeeded."""
    with connect() as client:
        _follow(client, client.rollouts.show(rollout), is_watched=True, as_json=as_json)


@app.command()
def targets(rollout: RolloutId, as_json: Json = False) -> None:
    """List a rollout's devices: the variant of each, and how far it is."""
    with connect() as client:
        page = client.rollouts.targets(rollout)
    show_page(page, _TARGETS, empty="It has no devices.", as_json=as_json)


@app.command()
def cancel(rollout: RolloutId, as_json: Json = False) -> None:
    """Stop a rollout; devices that moved stay where they are."""
    with connect() as client:
        _show(client.rollouts.cancel(rollout), as_json=as_json)


def _follow(client: Client, rollout: Rollout, *, is_watched: bool, as_json: bool) -> None:
    if is_watched:
        rollout = watching.watch(lambda: client.rollouts.show(rollout.id), _bars, is_quiet=as_json)
    _show(rollout, as_json=as_json)
    watching.exit_by(rollout.state)


def _bars(rollout: Rollout) -> list[Bar]:
    return [
        Bar(
            name=f"wave {wave.number}",
            share=wave.counts.get("succeeded", 0) / wave.devices if wave.devices else 0.0,
            words=f"{wave.state}, {wave.counts.get('succeeded', 0)} of {wave.devices} proven",
        )
        for wave in rollout.waves
    ]


def _show(rollout: Rollout, *, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "Rollout": rollout.id,
        "Version": f"{rollout.model}/{rollout.version}",
        "State": rollout.state,
        "Message": rollout.message,
        "Devices": f"{rollout.succeeded} of {rollout.devices} proven, {rollout.failed} failed",
        "Selector": figures.selector(rollout.selector),
        "By": rollout.created_by,
        "Created": rollout.created_at,
        "Finished": rollout.finished_at,
    }
    show_item(rollout, facts, Part(items=rollout.waves, columns=_WAVES), as_json=as_json)
