"""`/models/{name}/boards`: which boards of the catalogue would serve a version, and what the catalogue says."""

from dataclasses import dataclass
from typing import Any, Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form, table
from dashboard.components.layout import Notice, Region, empty, section
from dashboard.components.table import Column, Table
from dashboard.page import Live, Page
from dashboard.pages.model_frame import VersionPicker, asked_version, model_heading, versions_of
from dashboard.wording import Unreadable
from shoal.client import Client
from shoal.schemas.artifacts import Version
from shoal.schemas.common import Page as PageOf
from shoal.schemas.profiles import Advice, AdviceRequest, Board

_EVERY_S: Final = 30.0
_TITLES: Final = {
    "memory_bytes": "Memory",
    "int8_ops_per_s": "int8, at most",
    "fp32_flops": "fp32, at most",
    "memory_bandwidth": "Memory bandwidth",
    "idle_w": "Power, idle",
    "load_w": "Power, under load",
    "temperature_min_c": "Temperature, from",
    "temperature_max_c": "Temperature, up to",
}
_UNITS: Final = {"operations/s": "op/s", "bytes/s": "B/s", "celsius": "°C", "bytes": "B"}
_SOURCES: Final = {"profile": "measured on devices", "specification": "from specifications", "none": "nothing is known"}


@dataclass(frozen=True, kw_only=True)
class _Data:
    versions: list[Version]
    chosen: Version | None
    boards: list[Board]


def model_boards(page: Page, name: str) -> None:
    """Draw the page; `?version=` says of which version."""
    view = _View(page, name)
    view.live = page.live(view.load, view.show, every_s=_EVERY_S)


class _View:
    live: Live[_Data]

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._name = name
        self._number = asked_version(page)
        self._chosen: Version | None = None
        with model_heading(page, name, "/boards"):
            self._picker = VersionPicker(page, f"/models/{name}/boards")
        with section("Which boards would serve?", hint="leave empty what does not matter", test_id="advice"):
            with ui.element("div").classes("ask-row"):
                self._latency = _figure("Latency at most, ms").props('data-testid="advice-latency"')
                self._drop = form.number("Score may drop by, points", 2, least=0, most=100, step=0.1)
                self._power = _figure("Power at most, W").props('data-testid="advice-power"')
                self._coldest, self._hottest = _figure("From, °C"), _figure("Up to, °C")
                self._connectivity = ui.select([], label="Needs", multiple=True).props("outlined dense use-chips")
                form.button("Judge", self._judge, test_id="judge", is_primary=True)
            self._refusal = Notice(test_id="advice-refusal")
            self._advice = Table(
                [
                    Column(name="board", label="Board", is_long=True),
                    Column(name="verdict", label="Verdict"),
                    Column(name="latency", label="Latency", is_number=True),
                    Column(name="source", label="Known by"),
                    Column(name="reasons", label="Because", is_long=True),
                ],
                nothing="Say what the boards must be able to do, then Judge.",
                test_id="advice-table",
            )
        self._advice.show([])
        with section("Catalogue", hint="open a board for its figures, each with its source", test_id="catalogue"):
            self._catalogue = Region()

    def load(self, client: Client) -> _Data:
        versions, chosen = versions_of(client, self._name, self._number)
        return _Data(versions=versions, chosen=chosen, boards=client.boards.list().items)

    def show(self, data: _Data) -> None:
        self._chosen = data.chosen
        self._picker.show(data.versions, data.chosen)
        self._catalogue.show(data.boards, _draw_boards)
        offered = sorted({kind for board in data.boards for kind in board.connectivity})
        if offered != self._connectivity.options:
            self._connectivity.set_options(offered)

    async def _judge(self) -> None:
        self._refusal.show("")
        if self._chosen is None:
            self._refusal.show("This model has no version yet.")
            return
        number = self._chosen.number
        try:
            request = AdviceRequest(
                max_latency_ms=self._latency.value,
                max_accuracy_drop=form.wanted_number(self._drop) / 100,
                max_power_w=self._power.value,
                temperature_min_c=self._coldest.value,
                temperature_max_c=self._hottest.value,
                connectivity=self._connectivity.value or [],
            )
        except Unreadable as error:
            self._refusal.show(str(error))
            return
        except ValueError as error:  # pydantic's: a figure is out of its range
            self._refusal.show(str(error).splitlines()[0])
            return

        def judged(found: PageOf[Advice]) -> None:
            self._advice.show([advice_row(one) for one in found.items])

        await self._page.act(
            lambda client: client.boards.advise(self._name, number, request), judged, self._refusal.show
        )


def advice_row(one: Advice) -> dict[str, Any]:
    """Give a verdict as a row."""
    return {
        "id": one.board,
        "board": one.title,
        "verdict": table.state(one.verdict.replace("_", " ")),
        "latency": latency_words(one.latency_ms),
        "source": _SOURCES[one.source],
        "reasons": " ".join(reason if reason.endswith(".") else f"{reason}." for reason in one.reasons),
    }


def latency_words(latency_ms: tuple[float, float, float] | None) -> table.Cell:
    """Say a latency and how uncertain it is.

    >>> latency_words((1.0, 2.0, 4.0))
    {'text': '2.000 ms', 'note': '1.000 ms to 4.000 ms'}
    """
    if latency_ms is None:
        return ""
    least, likely, most = map(format.milliseconds, latency_ms)
    return table.noted(likely, f"{least} to {most}" if least != most else "measured")


def figure_rows(board: Board) -> list[dict[str, Any]]:
    """Give the figures of a board as rows."""
    return [
        {
            "id": name,
            "figure": _TITLES.get(name, name),
            "value": _amount(name, figure),
            "source": str(figure.get("source", "")),
        }
        for name, figure in board.figures.items()
    ]


def _draw_boards(boards: list[Board]) -> None:
    if not boards:
        empty("The catalogue is empty.")
    for board in boards:
        told = [", ".join(map(wording.runtime, board.runtimes)) or "no runtime", ", ".join(board.connectivity)]
        with ui.expansion(board.title, caption="; ".join(filter(None, told))).classes("board"):
            figures = Table(
                [
                    Column(name="figure", label="Figure"),
                    Column(name="value", label="Value", is_number=True),
                    Column(name="source", label="Source", is_long=True),
                ],
                nothing="Nothing is stated.",
            )
            figures.show(figure_rows(board))


def _amount(name: str, figure: dict[str, Any]) -> str:
    value, most = figure.get("value"), figure.get("most")
    if not isinstance(value, int | float):
        return "?"
    unit = str(figure.get("unit", ""))
    unit = _UNITS.get(unit, unit)
    said = _say(name, value, unit)
    return f"{said} to {_say(name, most, unit)}" if isinstance(most, int | float) else said


def _say(name: str, value: float, unit: str) -> str:
    """Say a figure of a specification.

    >>> _say("int8_ops_per_s", 4e12, "op/s"), _say("memory_bytes", 8 * 2**30, "B"), _say("load_w", 7.5, "W")
    ('4 Top/s', '8.0 GiB', '7.5 W')
    """
    if name == "memory_bytes":
        return format.size(int(value))
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:g} {unit}".strip()


def _figure(label: str) -> ui.number:
    return ui.number(label, value=None).props("outlined dense clearable")
