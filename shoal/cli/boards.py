"""`shoal boards`: the catalogue of boards, and which of them would serve a model."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli.fit import ModelName, Version, newest
from shoal.cli.options import Json
from shoal.cli.output import Column, show_page
from shoal.cli.session import connect
from shoal.schemas.profiles import Advice, AdviceRequest, Board

app = typer.Typer(no_args_is_help=True, help="Boards that could be bought, each figure with its source.")

_COLUMNS: Final = (
    Column[Board](title="Board", of=lambda board: board.name),
    Column[Board](title="Title", of=lambda board: board.title),
    Column[Board](title="Runtimes", of=lambda board: board.runtimes, is_long=True),
    Column[Board](title="Memory", of=lambda board: _range(board, "memory_bytes", figures.size)),
    Column[Board](title="fp32", of=lambda board: _range(board, "fp32_flops", _giga)),
    Column[Board](title="int8", of=lambda board: _range(board, "int8_ops_per_s", _giga)),
    Column[Board](title="Draws", of=lambda board: _range(board, "load_w", lambda watts: f"{watts:g} W")),
    Column[Board](title="Connects by", of=lambda board: board.connectivity, is_long=True),
)
_ADVICE: Final = (
    Column[Advice](title="Board", of=lambda advice: advice.board),
    Column[Advice](title="Verdict", of=lambda advice: advice.verdict),
    Column[Advice](title="Latency", of=lambda advice: _latency(advice)),
    Column[Advice](title="By", of=lambda advice: advice.source),
    Column[Advice](title="Reasons", of=lambda advice: advice.reasons, is_long=True),
)


@app.command("list")
def list_boards(as_json: Json = False) -> None:
    """List the catalogue; with --json each figure has its source."""
    with connect() as client:
        page = client.boards.list()
    show_page(page, _COLUMNS, empty="The catalogue is empty.", as_json=as_json)


def advise(
    model: ModelName,
    version: Version = None,
    latency: Annotated[float | None, typer.Option("--latency-ms", help="Of an inference, at most.")] = None,
    accuracy_drop: Annotated[float, typer.Option("--accuracy-drop", min=0, max=1, help="At most.")] = 0.02,
    power: Annotated[float | None, typer.Option("--power-w", help="Drawn at work, at most.")] = None,
    coldest: Annotated[float | None, typer.Option("--min-celsius", help="How cold it gets there.")] = None,
    hottest: Annotated[float | None, typer.Option("--max-celsius", help="How hot it gets there.")] = None,
    connectivity: Annotated[
        list[str] | None, typer.Option("--connectivity", help="Such as ethernet; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which boards would serve a model, and how sure that is."""
    request = AdviceRequest(
        max_latency_ms=latency,
        max_accuracy_drop=accuracy_drop,
        max_power_w=power,
        temperature_min_c=coldest,
        temperature_max_c=hottest,
        connectivity=connectivity or [],
    )
    with connect() as client:
        page = client.boards.advise(model, newest(client, model, version), request)
    show_page(page, _ADVICE, empty="The catalogue is empty.", as_json=as_json)


def _range(board: Board, name: str, say: Any) -> Any:
    figure = board.figures.get(name)
    if figure is None:
        return None
    most = figure.get("most")
    return say(figure["value"]) if most is None else f"{say(figure['value'])} to {say(most)}"


def _giga(rate: float) -> str:
    return f"{rate / 1e9:g} G/s"


def _latency(advice: Advice) -> Any:
    if advice.latency_ms is None:
        return None
    least, likely, most = advice.latency_ms
    return f"{likely:.3g} ms ({least:.3g} to {most:.3g})"
