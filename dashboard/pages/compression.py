"""The form that makes variants of a version, by recipes or by a search for them; it stands on the model's page."""

from typing import Any, Final

from nicegui import ui

from dashboard import wording
from dashboard.components import form
from dashboard.components.form import Form
from dashboard.page import Page
from dashboard.pages.dataset_fields import BudgetFields, DatasetFields, without_words
from dashboard.wording import Unreadable
from shoal.schemas.jobs import CompressionRequest, Job
from shoal.schemas.recipes import Recipe, RuntimeName, Search

RUNTIMES: Final[tuple[RuntimeName, ...]] = (
    "onnxruntime",
    "openvino",
    "litert",
    "executorch",
    "torchscript",
    "armnn",
    "edgeimpulse",
)
# Name, meaning, steps (None: the name says it all), whether something is trained.
READY_MADE: Final[tuple[tuple[str, str, list[dict[str, Any]] | None], ...]] = (
    ("fp32", "as it is", None),
    ("int8", "static quantization, calibrated", None),
    ("int8-dynamic", "weights int8, activations scaled as they come", None),
    ("fp16", "half the bytes, hardly another answer", None),
    ("pruned-int8", "half of the MACs, fine-tuned, int8", [{"op": "prune"}, {"op": "quantize"}]),
    ("distilled-int8", "a student of half the width, int8", [{"op": "distill"}, {"op": "quantize"}]),
    ("binary", "weights of one bit: small in the file, not faster", [{"op": "binarize"}]),
)
_USUAL: Final = frozenset({"fp32", "int8"})
_NONE: Final = "no"
_LAST: Final = {
    "static": "static int8",
    "aware": "static int8, fine-tuned for it",
    "dynamic": "dynamic int8",
    "fp16": "float16",
    "binarize": "binary weights",
    _NONE: "nothing: float32",
}


class CompressForm:
    """Asks for recipes, runtimes, budget and data sets, and starts the job."""

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._name = name
        self._version = 0
        self._form = Form("Compress", "Start the job", self._send, test_id="compress-form")
        with self._form.fields():
            self._words = ui.label("").classes("words")
            self._way = ui.toggle({"recipes": "By recipes", "search": "Search for the best"}, value="recipes")
            self._way.props('no-caps unelevated spread data-testid="way"').on_value_change(self._choose)
            self._way.props["aria-label"] = "How"
            self._recipes = RecipeFields()
            with ui.element("div") as self._search:
                ui.label(
                    "Recipes are tried in parallel, the hopeless ones stopped early; the best of size, latency and "
                    "score inside the budget become variants."
                ).classes("words")
                self._trials = form.number("Recipes tried to the end, at most", 16, least=1, most=500)
            with ui.element("div").props('role="group" aria-label="Runtimes"'):
                ui.label("For the runtimes").classes("field-title")
                with ui.element("div").classes("boxes"):
                    self._runtimes = {
                        runtime: ui.checkbox(wording.runtime(runtime), value=runtime == "onnxruntime").props(
                            f'dense data-testid="runtime-{runtime}"'
                        )
                        for runtime in RUNTIMES
                    }
            self._is_bound = ui.checkbox("Keep inside a budget: what is worse is refused", value=False)
            self._is_bound.props('dense data-testid="with-budget"').on_value_change(self._choose)
            with ui.element("div").classes("files") as self._limits:
                self._budget = BudgetFields(page)
            self._datasets = DatasetFields(page, name)
        self._choose()

    async def open(self, version: int) -> None:
        """Show it for a version."""
        self._version = version
        self._words.set_text(f"Makes variants of {self._name}/{version} that devices can run.")
        without = await self._datasets.load()
        self._form.open()
        self._form.refuse(without_words(without))

    def _choose(self) -> None:
        is_search = self._way.value == "search"
        self._recipes.box.set_visibility(not is_search)
        self._search.set_visibility(is_search)
        self._is_bound.set_visibility(not is_search)
        self._limits.set_visibility(is_search or bool(self._is_bound.value))

    async def _send(self) -> None:
        runtimes = [runtime for runtime in RUNTIMES if self._runtimes[runtime].value]
        if not runtimes:
            raise Unreadable("Choose at least one runtime.")
        is_search = self._way.value == "search"
        trials = round(form.wanted_number(self._trials))
        request = CompressionRequest(
            model=self._name,
            version=self._version,
            recipes=[] if is_search else self._recipes.value(runtimes),
            search=Search(runtimes=runtimes, max_trials=trials) if is_search else None,
            budget=self._budget.value() if is_search or self._is_bound.value else None,
            **self._datasets.value(),
        )
        await self._page.act(lambda client: client.jobs.compress(request), self._started, self._form.refuse)

    def _started(self, job: Job) -> None:
        self._form.close()
        ui.navigate.to(f"/jobs/{job.id}")


class RecipeFields:
    """Ready-made recipes to choose from, and one of one's own."""

    def __init__(self) -> None:
        with ui.element("div").props('role="group" aria-label="Recipes"') as self.box:
            ui.label("Recipes").classes("field-title")
            with ui.element("div").classes("boxes tall"):
                self._chosen = {
                    name: ui.checkbox(f"{name}: {meaning}", value=name in _USUAL).props(
                        f'dense data-testid="recipe-{name}"'
                    )
                    for name, meaning, _ in READY_MADE
                }
            with ui.expansion("A recipe of your own").classes("as-table").props('data-testid="own-recipe"'):
                with ui.element("div").classes("side-by-side"):
                    self._name = ui.input("Its name", placeholder="small").props("outlined dense")
                    self._student = _optional("Distill into width", least=0.01, most=1)
                    self._keep = _optional("Prune, keep this share", least=0.01, most=1)
                with ui.element("div").classes("side-by-side"):
                    self._target = form.select(
                        "Share of", {"macs": "MACs", "size": "bytes of weights", "latency": "latency"}
                    )
                    self._last = form.select("Then", _LAST)
                    self._calibration = form.select("Ranges by", ["minmax", "percentile", "entropy"])
                    self._float_layers = form.number("Layers in float", 0, least=0, most=1000)
        self._target.value, self._last.value, self._calibration.value = "macs", "static", "minmax"

    def value(self, runtimes: list[RuntimeName]) -> list[Recipe]:
        """Give the recipes that were chosen, each for all runtimes.

        Raises:
            Unreadable: None was.
        """
        found = [
            Recipe.model_validate({"name": name, "steps": steps, "runtimes": runtimes})
            for name, _, steps in READY_MADE
            if self._chosen[name].value
        ]
        if own := (self._name.value or "").strip():
            steps = own_steps(
                width=self._student.value,
                keep=self._keep.value,
                target=str(self._target.value),
                last=str(self._last.value),
                calibration=str(self._calibration.value),
                float_layers=round(float(self._float_layers.value or 0)),
            )
            found.append(Recipe.model_validate({"name": own, "steps": steps, "runtimes": runtimes}))
        if not found:
            raise Unreadable("Choose at least one recipe, or name one of your own.")
        return found


def own_steps(
    *, width: float | None, keep: float | None, target: str, last: str, calibration: str, float_layers: int
) -> list[dict[str, Any]]:
    """Give the steps of a recipe in their order.

    >>> own_steps(width=None, keep=0.5, target="macs", last="dynamic", calibration="minmax", float_layers=0)
    [{'op': 'prune', 'keep': 0.5, 'target': 'macs'}, {'op': 'quantize', 'mode': 'dynamic'}]
    """
    steps: list[dict[str, Any]] = []
    if width is not None:
        steps.append({"op": "distill", "width": width})
    if keep is not None:
        steps.append({"op": "prune", "keep": keep, "target": target})
    if last == "binarize":
        steps.append({"op": "binarize"})
    elif last in ("dynamic", "fp16"):
        steps.append({"op": "quantize", "mode": last})
    elif last != _NONE:
        aware: dict[str, Any] = {"aware": {}} if last == "aware" else {}
        steps.append(
            {"op": "quantize", "mode": "static", "calibration": calibration, "float_layers": float_layers, **aware}
        )
    return steps


def _optional(label: str, *, least: float, most: float) -> ui.number:
    return ui.number(label, value=None, min=least, max=most, step=0.05).props("outlined dense clearable")
