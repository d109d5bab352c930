"""Charts by ECharts: lines, bars, points. Colours are readable on light and on dark ground."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nicegui import events, ui

COLOURS: Final = ("#3b82f6", "#14b8a6", "#f59e0b", "#ec4899", "#8b5cf6", "#84cc16", "#ef4444", "#64748b")
_PAIRS: Final = ("#9cc2fb", "#2f6fe0", "#8ddcd2", "#0f9686")
GREY: Final = "#8a93a3"
_LABEL_PX: Final = 13.0
_FAINT: Final = "rgba(138, 147, 163, 0.22)"
GRID: Final = {"left": 12, "right": 18, "top": 40, "bottom": 8, "containLabel": True}


class Chart:
    """A chart; shown again with equal options it is left alone. `label`: what it shows, for who cannot see it."""

    def __init__(
        self,
        *,
        test_id: str = "",
        height_px: int = 260,
        label: str = "",
        on_click: Callable[[events.EChartPointClickEventArguments], object] | None = None,
    ) -> None:
        self._chart = ui.echart({}, renderer="svg", on_point_click=on_click)
        self._chart.classes("chart").style(f"height: {height_px}px")
        if label:
            self._chart.props["role"], self._chart.props["aria-label"] = "img", label
        if test_id:
            self._chart.props(f'data-testid="{test_id}"')

    def show(self, options: dict[str, Any]) -> None:
        """Show options that one of this module's functions made."""
        if options == self._chart.options:
            return
        self._chart.options.clear()
        self._chart.options.update(options)
        self._chart.update()

    def resize(self, width_px: int, height_px: int) -> None:
        """Give it a height, and a width that it has at least."""
        self._chart.style(f"height: {height_px}px; min-width: {width_px}px")

    def set_visibility(self, visible: bool) -> None:
        """Show or hide it."""
        self._chart.set_visibility(visible)


def line_chart(
    x: Sequence[int],
    left: Mapping[str, Sequence[float | None]],
    right: Mapping[str, Sequence[float | None]],
    x_name: str,
    *,
    x_max: int,
) -> dict[str, Any]:
    """Lines over whole numbers: `left` are shares 0..1 on an axis in percent, `right` any figures."""
    series = [
        _line(name, x, values, COLOURS[number], is_right=number >= len(left))
        for number, (name, values) in enumerate([*left.items(), *right.items()])
    ]
    return {
        **common(series),
        "xAxis": {
            "type": "value",
            "name": x_name,
            "nameLocation": "middle",
            "nameGap": 24,
            "min": 0,
            "max": max(x_max, 1),
            "minInterval": 1,
            **axis(),
            "splitLine": {"show": False},
        },
        "grid": {**GRID, "bottom": 24},
        "yAxis": [
            {"type": "value", "max": 1, ":axisLabel": _percent_labels(), "scale": True, **axis(without_label=True)},
            {"type": "value", "scale": True, **axis(), "splitLine": {"show": False}},
        ],
    }


def bar_chart(categories: Sequence[str], series: Mapping[str, Sequence[float | None]], *, unit: str) -> dict[str, Any]:
    """Bars, grouped where there are several series: then two and two, before (pale) and after.

    `unit`: `%` for shares 0..1, else the figures' unit.
    """
    colours = _PAIRS if len(series) > 1 else COLOURS
    bars = [
        {
            "type": "bar",
            "name": name,
            "data": list(values),
            "itemStyle": {"color": colours[number], "borderRadius": [3, 3, 0, 0]},
            "barMaxWidth": 34,
            "barGap": "12%",
        }
        for number, (name, values) in enumerate(series.items())
    ]
    labels = {":axisLabel": _percent_labels()} if unit == "%" else {}
    y_axis = axis(without_label=True) if unit == "%" else axis()
    return {
        **common(bars, has_legend=len(bars) > 1),
        "xAxis": {
            "type": "category",
            "data": list(categories),
            **axis(),
            "axisLabel": {"color": GREY, "interval": 0, "lineHeight": 15, "hideOverlap": True},
            "splitLine": {"show": False},
        },
        "yAxis": {"type": "value", "name": "" if unit == "%" else unit, **labels, **y_axis},
    }


def scatter_chart(series: Mapping[str, Sequence[tuple[float, float, str]]], *, x_name: str) -> dict[str, Any]:
    """Points `(x, share 0..1, label)` by series: the better ones stand at the top left."""
    every = [point for found in series.values() for point in found]
    x_most = max((x for x, _, _ in every), default=1.0)
    shifts = _label_shifts(every, x_most)
    points = [
        {
            "type": "scatter",
            "name": name,
            "data": [
                {
                    "value": [round(x, 1), y],
                    "name": label,
                    "label": {"position": "left" if x > x_most / 2 else "right", "offset": [0, shifts[x, y, label]]},
                }
                for x, y, label in found
            ],
            "symbolSize": 12,
            "itemStyle": {"color": COLOURS[number % len(COLOURS)]},
            "label": {"show": True, "formatter": "{b}", "color": GREY, "fontSize": 11},
        }
        for number, (name, found) in enumerate(series.items())
    ]
    shares = [y for _, y, _ in every] or [0.0, 1.0]
    margin = max(max(shares) - min(shares), 0.02) * 0.3
    return {
        **common(points),
        "grid": {**GRID, "bottom": 24, "left": 16, "right": 30},
        # As rich text: what a formatter gives would otherwise be taken for HTML.
        "tooltip": {
            "trigger": "item",
            "renderMode": "richText",
            ":formatter": f"p => p.seriesName + ', ' + p.name + '\\n' + p.value[0].toFixed(0) + ' {x_name}, '"
            " + (p.value[1] * 100).toFixed(2) + '%'",
        },
        "xAxis": {
            "type": "value",
            "name": x_name,
            "nameLocation": "middle",
            "nameGap": 26,
            "min": 0,
            "boundaryGap": [0, "8%"],
            **axis(),
        },
        "yAxis": {
            "type": "value",
            "min": max(math.floor((min(shares) - margin) * 100) / 100, 0),
            "max": min(math.ceil((max(shares) + margin) * 100) / 100, 1),
            ":axisLabel": _percent_labels(),
            **axis(without_label=True),
        },
        # On a phone there is no room beside the points; the tooltip has their names.
        "media": [
            {"query": {"maxWidth": 420}, "option": {"series": [{"label": {"show": False}}] * len(points)}},
            {"option": {"series": [{"label": {"show": True}}] * len(points)}},
        ],
    }


def _label_shifts(points: Sequence[tuple[float, float, str]], x_most: float) -> dict[tuple[float, float, str], float]:
    """Give each point's label a shift in pixels, so that those of neighbours stand below each other."""
    shares = [y for _, y, _ in points]
    near = max(max(shares, default=1.0) - min(shares, default=0.0), 0.02) * 0.12
    groups: list[list[tuple[float, float, str]]] = []
    for point in sorted(points, key=lambda found: (found[0], -found[1], found[2])):
        last = groups[-1][-1] if groups else None
        if last is not None and point[0] - last[0] <= x_most * 0.1 and abs(last[1] - point[1]) <= near:
            groups[-1].append(point)
        else:
            groups.append([point])
    return {point: (place - (len(group) - 1) / 2) * _LABEL_PX for group in groups for place, point in enumerate(group)}


def common(series: list[dict[str, Any]], *, has_legend: bool = True) -> dict[str, Any]:
    """Give what all charts have."""
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "legend": {
            "show": has_legend,
            "type": "scroll",
            "top": 4,
            "left": 8,
            "icon": "roundRect",
            "itemWidth": 12,
            "itemHeight": 8,
            "textStyle": {"color": GREY},
        },
        "tooltip": {"trigger": "axis", ":valueFormatter": "v => v == null ? '–' : (+v).toFixed(3)"},
        "grid": GRID,
        "series": series,
    }


def _line(
    name: str, x: Sequence[int], values: Sequence[float | None], colour: str, *, is_right: bool
) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "yAxisIndex": int(is_right),
        "data": [list(pair) for pair in zip(x, values, strict=True)],
        "symbolSize": 6,
        "lineStyle": {"width": 2, "type": "dashed" if is_right else "solid"},
        "itemStyle": {"color": colour},
    }


def axis(*, without_label: bool = False) -> dict[str, Any]:
    """Give how an axis looks; `without_label`: where its labels have a formatter of their own."""
    label = {} if without_label else {"axisLabel": {"color": GREY}}
    return {
        **label,
        "nameTextStyle": {"color": GREY},
        "axisLine": {"lineStyle": {"color": _FAINT}},
        "splitLine": {"lineStyle": {"color": _FAINT}},
    }


def _percent_labels() -> str:
    return f"{{color: '{GREY}', formatter: v => +(v * 100).toFixed(1) + '%'}}"
