"""`shoal telemetry`: what devices say about themselves, as figures and as lines. Unsigned: nothing is decided on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from shoal.cli import figures
from shoal.cli.options import Json
from shoal.cli.output import Column, Part, show_item, show_page
from shoal.cli.session import connect
from shoal.client import Client
from shoal.schemas.common import Page
from shoal.schemas.telemetry import Latest, Point, Series

app = typer.Typer(no_args_is_help=True, help="What devices measure.")
Hours = Annotated[float, typer.Option("--hours", min=0.01, max=24 * 365, help="How far back.")]
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 40
_LINES: Final = 24  # lines that are drawn; each is a request
_ANY: Final = "No device has sent telemetry yet."


@dataclass(frozen=True, kw_only=True)
class _Line:
    kind: str
    value: float
    drawn: str


_LATEST: Final = (
    Column[_Line](title="Kind", of=lambda line: line.kind),
    Column[_Line](title="Now", of=lambda line: measure(line.kind, line.value), is_number=True),
    Column[_Line](title="Over time", of=lambda line: line.drawn, is_optional=True),
)


@app.command()
def show(
    device_id: Annotated[str, typer.Argument(metavar="DEVICE")], hours: Hours = 1.0, as_json: Json = False
) -> None:
    """Show the newest figures of a device, and how they came about."""
    with connect() as client:
        latest = client.telemetry.latest(device_id)
        lines = [] if as_json else _lines(client, latest, hours)
    facts = {
        "Device": latest.device_id,
        "Sampled": latest.at,
        "Received": latest.received_at,
        **({"Dropped": f"{latest.dropped} samples that it had no room for"} if latest.dropped else {}),
    }
    show_item(latest, facts, Part(items=lines, columns=_LATEST), as_json=as_json)


@app.command()
def series(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as cpu.ratio.")],
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Of this device.")] = None,
    selector: Annotated[
        str | None, typer.Option("--selector", metavar="TEXT", help="Of all devices that it means, together.")
    ] = None,
    hours: Hours = 1.0,
    step_s: Annotated[float | None, typer.Option("--step-s", min=1, help="The least length of a step.")] = None,
    as_json: Json = False,
) -> None:
    """Show one kind over time, of a device or of many."""
    if (device is None) == (selector is None):
        raise typer.BadParameter("Say whose: either --device ID, or --selector TEXT.")
    end = datetime.now(UTC)
    begin = end - timedelta(hours=hours)
    with connect() as client:
        found = client.telemetry.series(kind, device=device, selector=selector, begin=begin, end=end, step_s=step_s)
    columns = (
        Column[Point](title="At", of=lambda point: point.at.isoformat(timespec="seconds")),
        Column[Point](title="Mean", of=lambda point: measure(kind, point.mean), is_number=True),
        Column[Point](title="Least", of=lambda point: measure(kind, point.minimum), is_number=True),
        Column[Point](title="Most", of=lambda point: measure(kind, point.maximum), is_number=True),
        Column[Point](title="Samples", of=lambda point: point.count, is_number=True),
    )
    facts = {
        "Kind": found.kind,
        "Step": figures.duration(found.step_s),
        "From": "the samples" if found.source == "raw" else "sums over time",
        "Over time": draw(found, begin, end) or f"no sample in the last {figures.duration(hours * 3600)}",
    }
    show_item(found, facts, Part(items=found.points, columns=columns), as_json=as_json)


@app.command("kinds")
def list_kinds(
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Of this device.")] = None,
    as_json: Json = False,
) -> None:
    """List the kinds that a device sends, or the fleet."""
    with connect() as client:
        found = client.telemetry.kinds(device=device)
    page = Page[str](items=found, total=len(found))
    show_page(page, (Column[str](title="Kind", of=lambda kind: kind),), empty=_ANY, as_json=as_json)


def draw(found: Series, begin: datetime, end: datetime, width: int = _WIDTH) -> str:
    """Draw a line of blocks, from the least mean to the most; where nothing was measured there is none.

    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> points = [Point(at=at + timedelta(seconds=s), mean=s, minimum=s, maximum=s, count=1) for s in (0, 1, 3)]
    >>> draw(Series(kind="k", step_s=1, source="raw", points=points), at, at + timedelta(seconds=4), 4)
    '▁▃ █'
    """
    if not found.points:
        return ""
    cells: list[list[float]] = [[] for _ in range(width)]
    for point in found.points:
        share = (point.at - begin) / (end - begin)
        cells[min(max(int(share * width), 0), width - 1)].append(point.mean)
    means = [sum(cell) / len(cell) if cell else None for cell in cells]
    return "".join(_block(mean, means) for mean in means)


def measure(kind: str, value: float) -> str:
    """Say a figure in its kind's unit.

    >>> measure("cpu.ratio", 0.431), measure("memory.available_bytes", 2**31), measure("power.watts", 5.25)
    ('43.1 %', '2.0 GiB', '5.25 W')
    >>> measure("inference.digits.requests", 120000.0)
    '120000'
    """
    unit = kind.rpartition(".")[2].rpartition("_")[2]
    if unit == "ratio":
        return figures.percent(value)
    if unit == "bytes" and value >= 0:
        return figures.size(value)
    sign = {"celsius": " °C", "watts": " W", "ms": " ms", "seconds": " s"}.get(unit, "")
    return f"{value:.6g}{sign}"


def _lines(client: Client, latest: Latest, hours: float) -> list[_Line]:
    end = datetime.now(UTC)
    begin = end - timedelta(hours=hours)
    lines = []
    for index, (kind, value) in enumerate(sorted(latest.figures.items())):
        drawn = ""
        if index < _LINES:
            found = client.telemetry.series(kind, device=latest.device_id, begin=begin, end=end)
            drawn = draw(found, begin, end)
        lines.append(_Line(kind=kind, value=value, drawn=drawn))
    return lines


def _block(mean: float | None, means: Sequence[float | None]) -> str:
    if mean is None:
        return " "
    present = [one for one in means if one is not None]
    least, most = min(present), max(present)
    share = (mean - least) / (most - least) if most > least else 0.0
    return _BLOCKS[round(share * (len(_BLOCKS) - 1))]
