"""The form that registers a model; its first version is uploaded on the model's page."""

import json
from typing import Any, Final

from nicegui import ui

from dashboard.components import form
from dashboard.components.form import Form
from dashboard.page import Page
from dashboard.wording import Unreadable
from shoal.schemas.artifacts import Model, ModelRequest

# As the API takes them.
TASKS: Final = ("classification", "regression", "detection", "anomaly", "sequence")
_STEPS = '[{"op": "resize", "width": 224, "height": 224}]'
_SIGNATURE = '{"inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 224, 224]}], "outputs": [...]}'


class ModelForm:
    """Asks what a model is."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._form = Form("Register a model", "Register", self._send, test_id="model-form")
        with self._form.fields():
            with ui.element("div").classes("side-by-side"):
                self._name = ui.input("Name", placeholder="digits").props('outlined dense data-testid="model-name"')
                self._task = form.select("Task", list(TASKS))
                self._task.value = TASKS[0]
            self._labels = ui.textarea("Class labels, one a line").props("outlined dense autogrow")
            self._licence = ui.input("Licence", placeholder="Apache-2.0").props("outlined dense")
            with ui.expansion("Signature and preprocessing").classes("as-table"):
                ui.label("Without a signature the first version says what the model takes and gives.").classes("words")
                self._signature = ui.textarea("Signature, JSON", placeholder=_SIGNATURE)
                self._signature.props("outlined dense autogrow").classes("mono")
                ui.label("What is done to raw images or series, in the cloud and on devices alike.").classes("words")
                self._steps = ui.textarea("Preprocessing, a JSON list", placeholder=_STEPS)
                self._steps.props("outlined dense autogrow").classes("mono")

    def open(self) -> None:
        """Show it."""
        self._form.open()

    async def _send(self) -> None:
        name = (self._name.value or "").strip()
        if not name:
            raise Unreadable("The model needs a name.")
        signature, steps = parsed(self._signature.value, "Signature"), parsed(self._steps.value, "Preprocessing")
        request = ModelRequest.model_validate(
            {
                "name": name,
                "task": self._task.value,
                "signature": signature,
                "preprocessing": steps or [],
                "class_labels": [line.strip() for line in (self._labels.value or "").splitlines() if line.strip()],
                "licence": (self._licence.value or "").strip(),
            }
        )

        def registered(model: Model) -> None:
            self._form.close()
            ui.navigate.to(f"/models/{model.name}?upload=1")

        await self._page.act(lambda client: client.models.create(request), registered, self._form.refuse)


def parsed(text: str | None, name: str) -> Any:
    """Read JSON, None where there is none.

    >>> parsed('[{"op": "crop"}]', "Steps"), parsed(" ", "Steps")
    ([{'op': 'crop'}], None)

    Raises:
        Unreadable.
    """
    if not text or not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name}: this is no JSON ({error}).") from error
