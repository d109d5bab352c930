"""The variants of a version: their figures side by side, size against score, and what single layers cost."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format, recipes, wording
from dashboard.components import chart, form, table
from dashboard.components.chart import Chart
from dashboard.components.layout import empty, grid, section
from dashboard.components.table import Column, Table
from dashboard.components.trade_off import (
    pareto_chart,
    ranking_chart,
    ranking_height_px,
    sensitivity_bars,
    sensitivity_of,
)
from shoal.schemas.artifacts import Variant, Version

_DRAWN_LAYERS: Final = 60


class VariantBoxes:
    """The table and the charts."""

    def __init__(self) -> None:
        with section("Variants", test_id="variants") as actions:
            self._variants = Table(
                [
                    Column(name="recipe", label="Recipe", is_long=True),
                    Column(name="runtime", label="Runtime"),
                    Column(name="size", label="Size", is_number=True),
                    Column(name="accuracy", label="Score", is_number=True),
                    Column(name="agreement", label="Agrees with the version", is_number=True),
                    Column(name="p50", label="p50", is_number=True),
                    Column(name="p95", label="p95", is_number=True),
                    Column(name="front", label="Front"),
                    Column(name="sha256", label="Artifact"),
                    Column(name="made", label="Made"),
                ],
                nothing="This version has no variant yet. Compress it, and devices can run it.",
                test_id="variant-table",
            )
        with actions:
            self._which = ui.label("").classes("words").props('data-testid="chosen-version"')
        with grid() as self._charts:
            hint = "the larger, the slower; ringed: on the front"
            with section("Size against score", hint=hint):
                self._sizes = Chart(
                    test_id="size-chart",
                    height_px=320,
                    label="Size against score of the variants; the table of variants has the same figures.",
                )
            with section("Median latency", hint="batch of one, on the controller"):
                self._latencies = Chart(
                    test_id="latency-chart",
                    height_px=320,
                    label="Median latency of the variants; the table of variants has the same figures.",
                )
        self._sensitivity = SensitivityBox("No variant of this version was made with its layers measured.")

    def show(self, chosen: Version | None, variants: Sequence[Variant], now: datetime) -> None:
        """Show the variants of a version."""
        self._which.set_text(f"of version {chosen.number}" if chosen else "")
        candidates = recipes.of_variants(variants)
        self._variants.show(
            [variant_row(one, point.is_on_front, now) for one, point in zip(variants, candidates, strict=True)]
        )
        self._charts.set_visibility(bool(variants))
        self._sizes.show(pareto_chart(candidates))
        names = [f"{variant.recipe}\n{wording.runtime(variant.runtime)}" for variant in variants]
        medians = [round(variant.latency_p50_ms, 4) for variant in variants]
        self._latencies.show(chart.bar_chart(names, {"median": medians}, unit="ms"))
        self._sensitivity.show(
            {f"{one.recipe} for {wording.runtime(one.runtime)}": sensitivity_of(one.figures) for one in variants}
        )


class SensitivityBox:
    """How much each layer costs in int8, as bars and in words."""

    def __init__(self, nothing: str) -> None:
        self._layers: dict[str, list[dict[str, Any]]] = {}
        hint = "what one layer alone in int8 loses; the most sensitive may stay in float"
        with section("Sensitivity of the layers", hint=hint, test_id="sensitivity") as actions:
            self._chart = Chart(
                test_id="sensitivity-chart", label="Sensitivity of the layers; the table below has the same figures."
            )
            with ui.expansion("The same as a table").classes("as-table") as self._words:
                self._table = Table(
                    [
                        Column(name="layer", label="Layer", is_long=True),
                        Column(name="kind", label="Operator"),
                        Column(name="drop", label="Lost score", is_number=True),
                        Column(name="noise", label="Noise", is_number=True),
                        Column(name="size", label="In float", is_number=True),
                    ],
                    nothing="",
                )
            self._empty = empty(nothing, icon="bar_chart")
        with actions:
            self._choice = form.select("Of", [], on_change=self._draw).props('data-testid="sensitivity-of"')

    def show(self, found: dict[str, list[dict[str, Any]]]) -> None:
        """Show the layers of what was made, by its name."""
        layers = {name: measured for name, measured in found.items() if measured}
        for part in (self._chart, self._words, self._choice):
            part.set_visibility(bool(layers))
        self._empty.set_visibility(not layers)
        if layers == self._layers:
            return
        self._layers = layers
        kept = self._choice.value if self._choice.value in layers else next(iter(layers), None)
        self._choice.set_options(list(layers), value=kept)
        self._draw()

    def _draw(self) -> None:
        layers = self._layers.get(str(self._choice.value), [])
        bars, unit = sensitivity_bars(layers)
        self._chart.resize(0, ranking_height_px(min(len(bars), _DRAWN_LAYERS)))
        self._chart.show(ranking_chart(bars[:_DRAWN_LAYERS], unit=unit))
        order = {bar[0]: place for place, bar in enumerate(bars)}
        self._table.show(
            [_layer_row(layer) for layer in sorted(layers, key=lambda one: order.get(str(one["layer"]), 0))]
        )


def variant_row(variant: Variant, is_on_front: bool, now: datetime) -> dict[str, Any]:
    """Give a variant as a row."""
    p95 = variant.figures.get("latency_p95_ms")
    return {
        "id": variant.id,
        "recipe": table.noted(variant.recipe, recipes.recipe(variant.recipe, variant.recipe_steps)),
        "runtime": table.noted(wording.runtime(variant.runtime), variant.format),
        "size": format.size(variant.size_bytes),
        "accuracy": format.ratio(variant.accuracy),
        "agreement": format.ratio(variant.agreement),
        "p50": format.milliseconds(variant.latency_p50_ms),
        "p95": format.milliseconds(p95 if isinstance(p95, int | float) else None),
        "front": "on it" if is_on_front else "",
        "sha256": table.mono(variant.sha256[:12], title=variant.sha256),
        "made": format.age(variant.created_at, now),
    }


def _layer_row(layer: dict[str, Any]) -> dict[str, Any]:
    drop, noise, size = layer.get("drop"), layer.get("noise"), layer.get("weight_bytes")
    return {
        "id": str(layer["layer"]),
        "layer": str(layer["layer"]),
        "kind": str(layer.get("kind", "")),
        "drop": f"{drop * 100:.2f} points" if isinstance(drop, int | float) else "",
        "noise": f"{noise:.3g}" if isinstance(noise, int | float) else "",
        "size": format.size(size) if isinstance(size, int) else "",
    }
