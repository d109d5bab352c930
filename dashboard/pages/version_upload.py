"""The form that gives a model its next version: files are sent, then a job looks at them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from nicegui import ui

from dashboard.components import form
from dashboard.components.file_field import FileField
from dashboard.components.form import Form
from dashboard.page import Page
from shoal.client import Client
from shoal.schemas.artifacts import Version, VersionRequest

# What a version can be, in words and by the endings of its files.
FORMATS: Final = {
    "program": ("Exported program (torch.export) and weights", ".pt2"),
    "onnx": ("ONNX", ".onnx"),
    "tflite": ("TensorFlow Lite", ".tflite,.lite"),
    "torchscript": ("TorchScript", ".pt,.pth,.ts"),
    "ptl": ("PyTorch lite interpreter", ".ptl"),
    "pte": ("ExecuTorch", ".pte"),
    "openvino": ("OpenVINO IR: a zip of model.xml and model.bin", ".zip"),
    "eim": ("Edge Impulse", ".eim"),
}
_LOOK_S: Final = 1.0


class VersionForm:
    """Asks for files, registers them, and waits until they were looked at. `refresh`: awaited after a change."""

    def __init__(self, page: Page, name: str, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._name = name
        self._refresh = refresh
        self._waited: int | None = None
        self._form = Form(f"New version of {name}", "Register", self._send, test_id="version-form")
        with self._form.fields():
            self._format = form.select("Format", {key: words for key, (words, _) in FORMATS.items()})
            self._format.on_value_change(self._choose).props('data-testid="version-format"')
            with ui.element("div").classes("files") as self._parts:
                self._program = FileField("Program, evaluation mode", test_id="eval-program", accept=".pt2")
                self._weights = FileField("Weights", test_id="weights", accept=".safetensors")
                self._training = FileField(
                    "Program, training mode (needed by all that learns)", test_id="train-program", accept=".pt2"
                )
            with ui.element("div").classes("files") as self._whole:
                self._file = FileField("Model file", test_id="model-file")
            self._notes = ui.input("Notes").props("outlined dense maxlength=2000")
            self._status = ui.label("").classes("words").props('role="status" data-testid="version-status"')
        self._format.value = "onnx"
        self._timer = ui.timer(_LOOK_S, self._look, active=False)

    def open(self) -> None:
        """Show it."""
        self._form.open()

    def _choose(self) -> None:
        chosen = str(self._format.value)
        self._parts.set_visibility(chosen == "program")
        self._whole.set_visibility(chosen != "program")
        self._file.accept(FORMATS[chosen][1])

    async def _send(self) -> None:
        chosen: Any = self._format.value
        files: dict[str, str] = {"file": self._file.value()} if chosen != "program" else self._program_files()
        request = VersionRequest(format=chosen, notes=self._notes.value or "", **files)

        def registered(version: Version) -> None:
            self._waited = version.number
            self._status.set_text(f"{self._name}/{version.number} is registered and being examined.")
            self._form.allow(False)  # until it was looked at
            self._timer.activate()

        def create(client: Client) -> Version:
            return client.models.create_version(self._name, request)

        await self._page.act(create, registered, self._form.refuse)
        await self._refresh()

    def _program_files(self) -> dict[str, str]:
        files = {"eval_program": self._program.value(), "weights": self._weights.value()}
        return {**files, **({"train_program": self._training.sha256} if self._training.sha256 else {})}

    async def _look(self) -> None:
        number = self._waited
        if number is None:
            self._timer.deactivate()
            return

        def judged(version: Version) -> None:
            if version.state == "checking":
                return
            self._waited = None
            self._timer.deactivate()
            self._form.allow(True)
            self._status.set_text("")
            if version.state == "refused":
                self._form.refuse(f"{self._name}/{number} was refused: {version.message} [{version.code}]")
                return
            self._form.close()
            for field in (self._program, self._weights, self._training, self._file):
                field.clear_file()
            ui.notify(f"{self._name}/{number} is ready.")

        await self._page.act(lambda client: client.models.show_version(self._name, number), judged, self._form.refuse)
        if self._waited is None:
            await self._refresh()
