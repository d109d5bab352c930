"""Charts of telemetry: of a device, or of all devices that a selector means."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nicegui import ui

from dashboard import format, kinds
from dashboard.components import form
from dashboard.components.chart import Chart
from dashboard.components.layout import Notice, section
from dashboard.components.time_chart import Moment, time_chart
from dashboard.kinds import Group
from dashboard.parts import part
from shoal.client import Client
from shoal.schemas.telemetry import Point, Series

RANGES: Final = {"1": "1 hour", "6": "6 hours", "24": "24 hours", "168": "7 days", "720": "30 days"}
_POINTS: Final = 360  # of a line: about one for two pixels
_LEAST_STEP_S: Final = 10.0
_MOST_LINES: Final = 8  # of a chart; more cannot be told apart
_MOST_CHARTS: Final = 16
_FRESH_S: Final = 15.0  # the page looks more often than charts change


@dataclass(frozen=True, kw_only=True)
class Charted:
    """A chart's figures.

    Attributes:
        hidden: Kinds that were left off.
    """

    group: Group
    series: dict[str, list[Moment]]
    step_s: float
    hidden: int


@dataclass(frozen=True, kw_only=True)
class Charts:
    """What the box shows.

    Attributes:
        choices: What can be chosen, with its name.
        refusal: Why there is nothing, where it was refused.
    """

    choices: dict[str, str]
    charted: tuple[Charted, ...]
    begin: datetime
    end: datetime
    refusal: str = ""


class TelemetryBox:
    """The box: a range, and what is shown.

    Of a device all kinds stand in charts by subject and unit, a line each. Of a selector one kind is shown, with a
    band from the least device to the most.
    """

    def __init__(self, refresh: Callable[[], Awaitable[None]], *, device_id: str = "", selector: str = "") -> None:
        self._refresh = refresh
        self._device_id = device_id
        self._selector = selector
        self._kept: tuple[tuple[str, str], float, Charts] | None = None
        self._drawn: dict[str, Chart] = {}
        hint = "unsigned; the mean, and from the least device to the most" if selector else "unsigned"
        with section("Telemetry", hint=hint, test_id="telemetry", wide=True) as actions:
            self._notice = Notice()
            self._place = ui.element("div").classes("charts")
            self._left_off = Notice()
        with actions:
            self._choice = form.select("Figures", {"": "All figures"} if device_id else {"": ""})
            self._choice.value = ""
            self._range = form.select("Range", dict(RANGES))
            self._range.value = "1"
            self._choice.props('data-testid="telemetry-figures"')
            self._range.props('data-testid="telemetry-range"')
            for field in (self._choice, self._range):
                field.on_value_change(self._again)

    async def _again(self) -> None:
        await self._refresh()

    def load(self, client: Client) -> Charts:
        """Read the figures; those that were read a moment ago are given again."""
        wanted = (str(self._range.value), str(self._choice.value))
        if self._kept is not None and self._kept[0] == wanted and time.monotonic() - self._kept[1] < _FRESH_S:
            return self._kept[2]
        found = part(lambda: self._read(client, *wanted))
        end = datetime.now(UTC)
        charts = found.value or Charts(choices={}, charted=(), begin=end, end=end, refusal=found.refusal)
        self._kept = (wanted, time.monotonic(), charts)
        return charts

    def _read(self, client: Client, hours: str, chosen: str) -> Charts:
        end = datetime.now(UTC)
        begin = end - timedelta(hours=int(hours))
        every = kinds.grouped(client.telemetry.kinds(device=self._device_id or None))
        if self._device_id:
            choices = {"": "All figures", **{subject_of(group): group.title for group in every}}
            groups = [group for group in every if chosen in ("", subject_of(group))]
        else:
            each = [replace(group, kinds=(kind,)) for group in every for kind in group.kinds]
            choices = {group.kinds[0]: group.kinds[0] for group in each}
            groups = [group for group in each if group.kinds[0] == chosen] or each[:1]
        charted = [self._chart(client, group, begin, end) for group in groups[:_MOST_CHARTS]]
        return Charts(choices=choices, charted=tuple(charted), begin=begin, end=end)

    def _chart(self, client: Client, group: Group, begin: datetime, end: datetime) -> Charted:
        step_s = max((end - begin).total_seconds() / _POINTS, _LEAST_STEP_S)
        shown = group.kinds[:_MOST_LINES]
        read = [self._series(client, kind, begin, end, step_s) for kind in shown]
        return Charted(
            group=group,
            series={kinds.name(kind): moments(series.points) for kind, series in zip(shown, read, strict=True)},
            step_s=max((series.step_s for series in read), default=step_s),
            hidden=len(group.kinds) - len(shown),
        )

    def _series(self, client: Client, kind: str, begin: datetime, end: datetime, step_s: float) -> Series:
        whose: dict[str, Any] = {"device": self._device_id} if self._device_id else {"selector": self._selector}
        return client.telemetry.series(kind, begin=begin, end=end, step_s=step_s, **whose)

    def show(self, charts: Charts) -> None:
        """Show the figures."""
        self._notice.show(charts.refusal or ("" if charts.charted else "No sample came in yet."))
        if charts.choices and charts.choices != self._choice.options:
            chosen = self._choice.value if self._choice.value in charts.choices else next(iter(charts.choices))
            self._choice.set_options(charts.choices, value=chosen)
        wanted = {heading_of(found): found for found in charts.charted}
        if list(wanted) != list(self._drawn):
            self._place.clear()
            with self._place:
                self._drawn = {title: _drawn(title) for title in wanted}
        for title, found in wanted.items():
            self._drawn[title].show(
                time_chart(found.series, unit=found.group.unit, begin=charts.begin, end=charts.end, step_s=found.step_s)
            )
        hidden = sum(found.hidden for found in charts.charted)
        self._left_off.show(f"{format.count(hidden)} more kinds are not shown." if hidden else "")


def moments(points: list[Point]) -> list[Moment]:
    """Give what a chart shows of a series."""
    return [Moment(at=one.at, mean=one.mean, minimum=one.minimum, maximum=one.maximum) for one in points]


def subject_of(group: Group) -> str:
    """Give the first part of a group's kinds."""
    return group.kinds[0].partition(".")[0]


def heading_of(found: Charted) -> str:
    """Say what a chart shows: its subject, the kind if it is alone, and the unit."""
    group = found.group
    alone = kinds.name(group.kinds[0]) if len(group.kinds) == 1 else ""
    what = f"{group.title}, {alone}" if alone and alone != subject_of(group) else group.title
    return f"{what} ({group.unit})" if group.unit else what


def _drawn(title: str) -> Chart:
    with ui.element("figure").classes("charted"):
        with ui.element("figcaption"):
            ui.label(title)
        return Chart(height_px=190, label=f"Chart: {title}")
