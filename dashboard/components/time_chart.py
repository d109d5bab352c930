"""Lines over time, with gaps where nothing came and a band where there is one line."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dashboard.components.chart import COLOURS, GREY, GRID, axis, common

_BAND: Final = "rgba(59, 130, 246, 0.18)"
_GAP: Final = 2.5  # steps without a sample that a line does not bridge
_BYTES: Final = (
    "const u = ['B', 'KiB', 'MiB', 'GiB', 'TiB']; let i = 0; "
    "while (Math.abs(v) >= 1024 && i < 4) { v /= 1024; i++ } const t = +v.toFixed(v >= 100 ? 0 : 1) + ' ' + u[i];"
)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A figure over a step of time: its mean, and how far it went."""

    at: datetime
    mean: float
    minimum: float
    maximum: float


def time_chart(
    series: Mapping[str, Sequence[Moment]], *, unit: str, begin: datetime, end: datetime, step_s: float
) -> dict[str, Any]:
    """Lines over time, in the browser's time zone; one alone has a band from its least to its most.

    Where no sample came for longer than the others are apart the line ends: a gap is a gap.

    Args:
        unit: `%` for shares 0..1, `B` and `B/s` in binary multiples, else as it is.
        step_s: How far apart the moments are.
    """
    lines: list[dict[str, Any]] = []
    is_band = len(series) == 1
    for number, (name, moments) in enumerate(series.items()):
        kept = _with_gaps(moments, step_s)
        if is_band:
            lines += _band(kept)
        lines.append(
            {
                "type": "line",
                "name": name,
                "data": [[at, None if moment is None else moment.mean] for at, moment in kept],
                "showSymbol": len(moments) < 2,  # a line of one point cannot be seen
                "symbolSize": 5,
                "connectNulls": False,
                "lineStyle": {"width": 1.8, "type": ("solid", "dashed", "dotted")[number // len(COLOURS) % 3]},
                "itemStyle": {"color": COLOURS[number % len(COLOURS)]},
            }
        )
    most = max((one.maximum if is_band else one.mean for every in series.values() for one in every), default=0.0)
    least = min((moment.minimum for moments in series.values() for moment in moments), default=0.0)
    options = common(lines, has_legend=len(series) > 1)
    return {
        **options,
        "legend": {**options["legend"], "data": list(series)},
        "grid": {**GRID, "top": 40 if len(series) > 1 else 14},
        "tooltip": {"trigger": "axis", "renderMode": "richText", ":formatter": _told(unit)},
        "xAxis": {
            "type": "time",
            "splitNumber": 5,
            "min": _ms(begin),
            "max": _ms(end),
            **axis(),
            "axisLabel": {"color": GREY, "hideOverlap": True},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "scale": unit == "°C",
            **({"min": 0} if least >= 0 and unit != "°C" else {}),
            "splitNumber": 4,
            **_ticks(unit, most),
            **axis(without_label=True),
            ":axisLabel": f"{{color: '{GREY}', formatter: {_formatter(unit)}}}",
        },
    }


def _with_gaps(moments: Sequence[Moment], step_s: float) -> list[tuple[int, Moment | None]]:
    """Give milliseconds since 1970 and moments, with None where a line must end."""
    at = [_ms(moment.at) for moment in moments]
    apart = sorted(later - earlier for earlier, later in itertools.pairwise(at))
    # Samples may be further apart than the steps that were asked for: then that is no gap.
    usual = max(step_s * 1000, apart[len(apart) // 2] if apart else 0)
    kept: list[tuple[int, Moment | None]] = []
    for place, moment in zip(at, moments, strict=True):
        if kept and place - kept[-1][0] > usual * _GAP:
            kept.append((int(kept[-1][0] + usual), None))
        kept.append((place, moment))
    return kept


def _band(kept: Sequence[tuple[int, Moment | None]]) -> list[dict[str, Any]]:
    """Give two stacked series: up to the least nothing is drawn, from there to the most an area."""
    hidden = {
        "type": "line",
        "stack": "band",
        "stackStrategy": "all",
        "symbol": "none",
        "silent": True,
        "lineStyle": {"opacity": 0},
    }
    least = [[at, None if moment is None else moment.minimum] for at, moment in kept]
    most = [[at, None if moment is None else moment.maximum - moment.minimum] for at, moment in kept]
    return [
        {**hidden, "name": "least", "data": least},
        {**hidden, "name": "most", "data": most, "areaStyle": {"color": _BAND}},
    ]


def _ticks(unit: str, most: float) -> dict[str, float]:
    """Give the ticks of an axis of bytes, as decimal ones fall on odd amounts, and the end of one of shares."""
    if unit == "%" and 0.5 < most <= 1:
        return {"max": 1, "interval": 0.25}
    if unit not in ("B", "B/s") or most <= 5:
        return {}
    interval = 2 ** math.ceil(math.log2(most / 5))
    return {"interval": interval, "max": math.ceil(most / interval) * interval}


def _formatter(unit: str) -> str:
    """Give a JavaScript function that says a figure."""
    if unit == "%":
        return "v => +(v * 100).toFixed(1) + '%'"
    if unit in ("B", "B/s"):
        return f"v => {{ {_BYTES} return t + '{unit[1:]}' }}"
    return f"v => (Math.abs(v) >= 1e4 ? v.toExponential(1) : +v.toFixed(2)) + '{f' {unit}' if unit else ''}'"


def _told(unit: str) -> str:
    """Give the tooltip's JavaScript. Rich text: what a formatter gives would otherwise be taken for HTML."""
    return (
        f"ps => {{ const say = {_formatter(unit)}; const at = ps[0].axisValue; "
        "const of = n => (ps.find(p => p.seriesName === n && p.seriesType === 'line') || {}).value; "
        "const least = of('least'), most = of('most'); "
        "const said = ps.filter(p => p.seriesName !== 'least' && p.seriesName !== 'most' && p.value[1] != null)"
        ".map(p => p.marker + p.seriesName + '  ' + say(p.value[1])); "
        "if (said.length && least && most && most[1] > 0) "
        "said.push('from ' + say(least[1]) + ' to ' + say(least[1] + most[1])); "
        "return [new Date(at).toLocaleString(), ...said].join('\\n') }"
    )


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
