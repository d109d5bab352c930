"""`/datasets`: the data sets that there are, and uploading another."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import format
from dashboard.components import form, table
from dashboard.components.file_field import FileField
from dashboard.components.form import Form
from dashboard.components.layout import heading, section
from dashboard.components.pager import Pager
from dashboard.components.table import Column, Table
from dashboard.page import Page
from dashboard.wording import Unreadable
from shoal.client import Client
from shoal.schemas.artifacts import Dataset, DatasetRequest, Model
from shoal.schemas.common import Page as PageOf
from shoal.schemas.jobs import Job

_SIZE: Final = 50
_LOOK_S: Final = 1.0
_ROLES: Final = ("calibration", "evaluation", "training", "golden")
_FORMATS: Final = {
    "safetensors": ("safetensors: x and y", ".safetensors"),
    "npz": ("npz without pickle", ".npz"),
    "parquet": ("Parquet", ".parquet"),
    "images": ("Zip of images, a folder a class", ".zip"),
}
_ANY: Final = "any model"
_ENDED: Final = frozenset({"succeeded", "refused", "failed", "canceled"})


def dataset_list(page: Page) -> None:
    """Draw the page."""
    _List(page).begin()


class _List:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._form = _DatasetForm(page, self._refresh)
        with heading("Data sets"):
            form.button("Upload a data set", self._form.open, test_id="new-dataset", is_primary=True)
        with section("", test_id="datasets"):
            self._table = Table(
                [
                    Column(name="name", label="Data set", is_long=True),
                    Column(name="role", label="Role"),
                    Column(name="samples", label="Samples", is_number=True),
                    Column(name="tensors", label="A sample has", is_long=True),
                    Column(name="format", label="Came as"),
                    Column(name="sha256", label="Digest"),
                    Column(name="made", label="Made"),
                    Column(name="act", label="Actions"),
                ],
                nothing="No data set yet. A compression needs one for calibration, one for evaluation, one golden.",
                test_id="dataset-table",
                on_act=self._ask_delete,
            )
            self._pager = Pager[Dataset](size=_SIZE, on_move=self._refresh)

    def begin(self) -> None:
        self._live = self._page.live(self._load, self._show)

    async def _refresh(self) -> None:
        await self._live.refresh()

    def _load(self, client: Client) -> PageOf[Dataset]:
        return client.datasets.list(limit=_SIZE, cursor=self._pager.cursor)

    def _show(self, found: PageOf[Dataset]) -> None:
        now = datetime.now(UTC)
        self._table.show([dataset_row(shown, now) for shown in found.items])
        self._pager.show(found)

    def _ask_delete(self, name: str, _: str) -> None:
        async def delete() -> None:
            def done(_: None) -> None:
                ui.notify(f"{name} is deleted.")

            await self._page.act(lambda client: client.datasets.delete(name), done)
            await self._refresh()

        form.confirm(f"Delete {name}?\nRefused while anything depends on it.", "Delete", delete).open()


class _DatasetForm:
    def __init__(self, page: Page, refresh: Callable[[], Awaitable[None]]) -> None:
        self._page = page
        self._refresh = refresh
        self._job_id = ""
        self._form = Form("Upload a data set", "Make the data set", self._send, test_id="dataset-form")
        with self._form.fields():
            with ui.element("div").classes("side-by-side"):
                self._name = ui.input("Name").props('outlined dense data-testid="dataset-name"')
                self._role = form.select("Role", list(_ROLES)).props('data-testid="dataset-role"')
            with ui.element("div").classes("side-by-side"):
                self._format = form.select("Format", {key: words for key, (words, _) in _FORMATS.items()})
                self._format.on_value_change(self._choose).props('data-testid="dataset-format"')
                self._model = form.select("Must fit the model", [_ANY]).props('data-testid="dataset-model"')
            self._column = ui.input("Column of the labels", placeholder="label").props("outlined dense")
            self._labels = ui.textarea("Class labels in their order, one a line").props("outlined dense autogrow")
            self._file = FileField("File", test_id="dataset-file", accept=_FORMATS["safetensors"][1])
            self._status = ui.label("").classes("words").props('role="status" data-testid="dataset-status"')
        self._role.value, self._format.value, self._model.value = _ROLES[0], "safetensors", _ANY
        self._choose()
        self._timer = ui.timer(_LOOK_S, self._look, active=False)

    async def open(self) -> None:
        def offer(found: PageOf[Model]) -> None:
            names = [_ANY, *(model.name for model in found.items)]
            self._model.set_options(names, value=self._model.value if self._model.value in names else _ANY)
            self._form.open()

        await self._page.act(lambda client: client.models.list(limit=200), offer)

    def _choose(self) -> None:
        chosen = str(self._format.value)
        self._column.set_visibility(chosen in ("parquet", "npz"))
        self._labels.set_visibility(chosen == "images")
        self._file.accept(_FORMATS[chosen][1])

    async def _send(self) -> None:
        name, chosen = (self._name.value or "").strip(), self._format.value
        if not name:
            raise Unreadable("The data set needs a name.")
        request = DatasetRequest(
            name=name,
            role=self._role.value,
            sha256=self._file.value(),
            format=chosen,
            label_column=(self._column.value or "").strip() or None if self._column.visible else None,
            class_labels=_lines(self._labels.value) if self._labels.visible else [],
            model=None if self._model.value == _ANY else self._model.value,
        )
        if chosen == "safetensors":
            await self._page.act(lambda client: client.datasets.create(request), self._made, self._form.refuse)
        else:
            await self._page.act(lambda client: client.datasets.import_(request), self._begun, self._form.refuse)
        await self._refresh()

    def _made(self, made: Dataset) -> None:
        self._done(f"{made.name} has {format.count(made.samples)} samples.")

    def _done(self, words: str) -> None:
        self._status.set_text("")
        self._file.clear_file()
        self._form.close()
        ui.notify(words)

    def _begun(self, job: Job) -> None:
        self._job_id = job.id
        self._status.set_text("The file is being read.")
        self._form.allow(False)  # until it ended
        self._timer.activate()

    async def _look(self) -> None:
        job_id = self._job_id

        def judged(job: Job) -> None:
            if job.state not in _ENDED:
                said = job.message or ("It waits for its turn." if job.state == "queued" else "The file is being read.")
                self._status.set_text(f"{job.progress:.0%}. {said}")
                return
            self._timer.deactivate()
            self._form.allow(True)
            self._job_id = ""
            if job.state == "succeeded":
                self._done("The data set is made.")
                return
            self._status.set_text("")
            self._form.refuse(f"It was not made: {job.message or job.state}{f' [{job.code}]' if job.code else ''}")

        await self._page.act(lambda client: client.jobs.show(job_id), judged, self._form.refuse)
        if not self._job_id:
            await self._refresh()


def dataset_row(shown: Dataset, now: datetime) -> dict[str, Any]:
    """Give a data set as a row."""
    tensors = [
        f"{name}: {' × '.join(map(str, tensor.shape)) or 'a number'}, {tensor.datatype}"
        for name, tensor in shown.tensors.items()
    ]
    return {
        "id": shown.name,
        "name": shown.name,
        "role": shown.role,
        "samples": format.count(shown.samples),
        "tensors": "; ".join(tensors),
        "format": shown.format,
        "sha256": table.mono(shown.sha256[:12], title=shown.sha256),
        "made": table.noted(format.age(shown.created_at, now), f"by {shown.created_by}"),
        "act": table.action("Delete", of=shown.name),
    }


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]
