"""Charts that weigh variants and trials: size against score with the front marked, and what layers lose. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.components.chart import COLOURS, GREY, GRID, axis, common

_LEAST_PX: Final = 9.0  # of the fastest's symbol
_MOST_PX: Final = 30.0  # of the slowest's
_LOG_FROM: Final = 30.0  # so many times may the largest be the smallest, on an axis that is not logarithmic
_FRONT: Final = "front"
_TOLD: Final = "p => p.data && p.data.told ? p.data.told : p.name"
_LABEL_ROOM: Final = 22  # signs of a layer's name that are shown beside its bar
_LAYER_PX: Final = 22


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Something with a size and a score.

    Attributes:
        group: What it is coloured by.
        told: What the pointer is told, line by line.
    """

    name: str
    group: str
    size_bytes: int
    score: float
    latency_ms: float
    told: str
    is_on_front: bool


def front_of(figures: Sequence[tuple[float, float, float]]) -> list[bool]:
    """Say of each (size, latency, score) whether none is as good in all and better in one.

    >>> front_of([(10, 1.0, 0.99), (5, 1.0, 0.98), (12, 2.0, 0.98)])
    [True, True, False]
    """

    def beats(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
        costs = one[0] <= other[0] and one[1] <= other[1] and one[2] >= other[2]
        return costs and one != other

    return [not any(beats(other, one) for other in figures) for one in figures]


def pareto_chart(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Points of size (KiB) and score, a colour a group; the larger, the slower. The front has rings and a line."""
    sizes = [one.size_bytes / 1024 for one in candidates] or [1.0]
    scores = [one.score for one in candidates] or [0.0, 1.0]
    latencies = [one.latency_ms for one in candidates if one.latency_ms > 0] or [1.0]
    is_log = min(sizes) > 0 and max(sizes) / min(sizes) > _LOG_FROM
    slowest = {
        one.group: max(other.latency_ms for other in candidates if other.group == one.group) for one in candidates
    }
    groups = sorted(slowest, key=lambda group: (-slowest[group], group))  # large symbols lie below small ones
    series: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": group,
            "itemStyle": {"color": COLOURS[number % len(COLOURS)], "opacity": 0.8},
            "labelLayout": {"hideOverlap": True},
            "data": [_point(one, min(latencies), max(latencies)) for one in candidates if one.group == group],
        }
        for number, group in enumerate(groups)
    ]
    line = _staircase([one for one in candidates if one.is_on_front])
    series.append(
        {
            "type": "line",
            "name": _FRONT,
            "data": line,
            "step": "end",
            "symbol": "none",
            "silent": True,
            "lineStyle": {"type": "dashed", "width": 1.5, "color": GREY},
            "itemStyle": {"color": GREY},
            "z": 1,
        }
    )
    margin = max(max(scores) - min(scores), 0.02) * 0.15
    options = common(series)
    return {
        **options,
        "grid": {**GRID, "bottom": 28, "right": 40},
        # As rich text: what a formatter gives would otherwise be taken for HTML.
        "tooltip": {"trigger": "item", "renderMode": "richText", "confine": True, ":formatter": _TOLD},
        "xAxis": {
            "type": "log" if is_log else "value",
            "name": "KiB",
            "nameLocation": "middle",
            "nameGap": 26,
            **({} if is_log else {"min": 0, "boundaryGap": [0, "8%"]}),
            **axis(),
        },
        "yAxis": {
            "type": "value",
            "min": max(math.floor((min(scores) - margin) * 100) / 100, 0),
            "max": min(math.ceil((max(scores) + margin) * 100) / 100, 1),
            ":axisLabel": f"{{color: '{GREY}', formatter: v => +(v * 100).toFixed(1) + '%'}}",
            **axis(without_label=True),
        },
    }


def ranking_chart(bars: Sequence[tuple[str, float, str]], *, unit: str) -> dict[str, Any]:
    """Bars `(name, figure, told)` below each other, the first at the top; unit `%` for shares 0..1."""
    say = "v => +(v * 100).toFixed(2) + '%'" if unit == "%" else "v => v === 0 ? '0' : +v.toPrecision(3)"
    series = {
        "type": "bar",
        "name": unit,
        "data": [{"value": figure, "name": name, "told": told} for name, figure, told in bars],
        "itemStyle": {"color": COLOURS[0], "borderRadius": [0, 3, 3, 0]},
        "barMaxWidth": 14,
    }
    return {
        **common([series], has_legend=False),
        "grid": {**GRID, "top": 8, "right": 30},
        "tooltip": {"trigger": "item", "renderMode": "richText", "confine": True, ":formatter": _TOLD},
        "xAxis": {
            "type": "value",
            "splitNumber": 4,
            ":axisLabel": f"{{color: '{GREY}', hideOverlap: true, formatter: {say}}}",
            **axis(without_label=True),
        },
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [name for name, _, _ in bars],
            ":axisLabel": f"{{color: '{GREY}', interval: 0, formatter: v => v.length > {_LABEL_ROOM} "
            f"? '…' + v.slice(-{_LABEL_ROOM - 1}) : v}}",
            **axis(without_label=True),
            "splitLine": {"show": False},
            "axisTick": {"show": False},
        },
    }


def ranking_height_px(count: int) -> int:
    """Say how high a chart of so many bars has to be."""
    return 56 + _LAYER_PX * max(count, 1)


def sensitivity_of(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Find the layers' sensitivities in a variant's or trial's figures, beside them or in those of a step."""
    held = [figures, *(value for value in figures.values() if isinstance(value, Mapping))]
    for one in held:
        layers = one.get("sensitivity")
        if isinstance(layers, Mapping):
            layers = layers.get("layers")
        if isinstance(layers, list):
            return [dict(layer) for layer in layers if isinstance(layer, Mapping) and "layer" in layer]
    return []


def sensitivity_bars(layers: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, float, str]], str]:
    """Give the bars of layers, the most sensitive first, and their unit: lost score where it was measured, else noise.

    >>> sensitivity_bars([{"layer": "a", "drop": None, "noise": 0.25}, {"layer": "b", "drop": None, "noise": 0.5}])
    ([('b', 0.5, 'b\\nnoise 0.5'), ('a', 0.25, 'a\\nnoise 0.25')], 'noise')
    """
    has_drop = bool(layers) and all(isinstance(layer.get("drop"), int | float) for layer in layers)
    name = "drop" if has_drop else "noise"
    bars = [(str(layer["layer"]), float(layer.get(name) or 0.0), _layer_told(layer)) for layer in layers]
    return sorted(bars, key=lambda bar: -bar[1]), "%" if has_drop else "noise"


def _layer_told(layer: Mapping[str, Any]) -> str:
    said = [str(layer["layer"])]
    if layer.get("kind"):
        said.append(str(layer["kind"]))
    if isinstance(layer.get("drop"), int | float):
        said.append(f"costs {layer['drop'] * 100:.2f} points alone in int8")
    if isinstance(layer.get("noise"), int | float):
        said.append(f"noise {layer['noise']:.3g}")
    if isinstance(layer.get("weight_bytes"), int):
        said.append(f"{layer['weight_bytes'] / 1024:.1f} KiB in float")
    return "\n".join(said)


def _point(one: Candidate, fastest: float, slowest: float) -> dict[str, Any]:
    told = f"{one.told}\non the front: nothing is better in all" if one.is_on_front else one.told
    label = {
        "show": True,
        "formatter": "{b}",
        "position": "right",
        "color": GREY,
        "fontSize": 11,
        "textBorderColor": "var(--box)",  # the front's line runs behind
        "textBorderWidth": 3,
    }
    ring = {"borderColor": GREY, "borderWidth": 2.5, "opacity": 1}
    return {
        "value": [round(one.size_bytes / 1024, 2), one.score],
        "name": one.name,
        "told": told,
        "symbolSize": round(_symbol_px(one.latency_ms, fastest, slowest), 1),
        **({"itemStyle": ring, "label": label} if one.is_on_front else {}),
    }


def _symbol_px(latency_ms: float, fastest: float, slowest: float) -> float:
    """Give a symbol's size: its area grows with the logarithm of the latency, as those of runtimes are far apart."""
    if latency_ms <= 0 or slowest <= fastest:
        return _LEAST_PX * 1.3
    share = math.log(latency_ms / fastest) / math.log(slowest / fastest)
    return math.sqrt(_LEAST_PX**2 + (_MOST_PX**2 - _LEAST_PX**2) * share)


def _staircase(front: Sequence[Candidate]) -> list[list[float]]:
    """Give the line below which nothing is on the front: the best score that so many bytes buy."""
    best: list[list[float]] = []
    for one in sorted(front, key=lambda found: (found.size_bytes, -found.score)):
        if not best or one.score > best[-1][1]:
            best.append([round(one.size_bytes / 1024, 2), one.score])
    return best
