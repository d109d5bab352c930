"""The form that makes variants of a version; it stands on the model's page."""

from typing import Final

from nicegui import ui

from dashboard import format, wording
from dashboard.components import form
from dashboard.components.form import Form
from dashboard.page import Page
from dashboard.wording import Unreadable
from shoal.schemas.artifacts import Dataset
from shoal.schemas.common import Page as PageOf
from shoal.schemas.jobs import CompressionRequest, Job
from shoal.schemas.recipes import Recipe, RuntimeName

_RECIPES: Final = ("fp32", "int8")
_RUNTIMES: Final[tuple[RuntimeName, ...]] = ("onnxruntime", "openvino")
_ROLES: Final = ("calibration", "evaluation", "golden")


class CompressForm:
    """Asks for recipes, runtimes and data sets, and starts the job."""

    def __init__(self, page: Page, name: str) -> None:
        self._page = page
        self._name = name
        self._version = 0
        self._form = Form("Compress", "Start the job", self._send, test_id="compress-form")
        with self._form.fields():
            self._words = ui.label("").classes("words")
            self._wanted = {}
            for recipe, meaning in zip(_RECIPES, ("as it is", "static quantization, calibrated"), strict=True):
                ui.label(f"{recipe}: {meaning}")
                with ui.element("div").classes("side-by-side"):
                    for runtime in _RUNTIMES:
                        is_usual = (recipe, runtime) != ("fp32", "openvino")
                        box = ui.checkbox(wording.runtime(runtime), value=is_usual)
                        self._wanted[recipe, runtime] = box.props(f'dense data-testid="{recipe}-{runtime}"')
            self._datasets = {role: form.select(f"Data set for {role}", {}) for role in _ROLES}
            for role, field in self._datasets.items():
                field.props(f'data-testid="{role}-dataset"')

    async def open(self, version: int) -> None:
        """Show it for a version."""
        self._version = version
        self._words.set_text(f"Makes variants of {self._name}/{version} that devices can run, on Ray.")
        await self._page.act(lambda client: client.datasets.list(limit=200), self._offer)

    def _offer(self, found: PageOf[Dataset]) -> None:
        for role, field in self._datasets.items():
            names = {one.name: f"{one.name} ({format.count(one.samples)})" for one in found.items if one.role == role}
            field.set_options(names, value=field.value if field.value in names else next(iter(names), None))
        self._form.open()
        if without := [role for role, field in self._datasets.items() if not field.options]:
            self._form.refuse(f"There is no data set for {' and '.join(without)} yet: POST /v1/datasets makes one.")

    async def _send(self) -> None:
        recipes = []
        for recipe in _RECIPES:
            runtimes = [runtime for runtime in _RUNTIMES if self._wanted[recipe, runtime].value]
            if runtimes:
                recipes.append(Recipe(name=recipe, runtimes=runtimes))
        if not recipes:
            raise Unreadable("Choose at least one recipe and runtime.")
        if missing := [role for role, field in self._datasets.items() if not field.value]:
            raise Unreadable(f"Choose the data set for {' and '.join(missing)}.")
        request = CompressionRequest(
            model=self._name,
            version=self._version,
            recipes=recipes,
            calibration_dataset=self._datasets["calibration"].value,
            evaluation_dataset=self._datasets["evaluation"].value,
            golden_dataset=self._datasets["golden"].value,
        )
        await self._page.act(lambda client: client.jobs.compress(request), self._started, self._form.refuse)

    def _started(self, _: Job) -> None:
        self._form.close()
        ui.notify("The job has begun; its progress stands under Jobs.")
