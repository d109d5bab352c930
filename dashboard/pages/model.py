"""`/models/{name}`: what a model takes and gives, its versions, and the variants of one with their figures."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from dashboard import recipes
from dashboard.components import form
from dashboard.components.layout import Facts, section
from dashboard.components.table import Table
from dashboard.page import Live, Page
from dashboard.pages.compression import CompressForm
from dashboard.pages.jobs import JOB_COLUMNS, job_row
from dashboard.pages.model_frame import asked_version, model_heading, versions_of
from dashboard.pages.variants import VariantBoxes
from dashboard.pages.version_upload import VersionForm
from dashboard.pages.versions import VersionBox
from shoal.client import Client
from shoal.schemas.artifacts import Model, Variant, Version
from shoal.schemas.jobs import Job

_JOBS: Final = 5
_LABELS: Final = 20


@dataclass(frozen=True, kw_only=True)
class _Data:
    model: Model
    versions: list[Version]
    chosen: Version | None
    variants: list[Variant]
    jobs: list[Job]


def model(page: Page, name: str) -> None:
    """Draw the page; `?version=` chooses whose variants are shown, else the newest that has any."""
    number = asked_version(page)
    view = _View(page, name)
    view.live = page.live(lambda client: _load(client, name, number), view.show)


def _load(client: Client, name: str, number: int | None) -> _Data:
    shown = client.models.show(name)
    versions, chosen = versions_of(client, name, number)
    variants = client.models.list_variants(name, chosen.number).items if chosen else []
    jobs = client.jobs.list(subject=f"{name}/{chosen.number}", limit=_JOBS).items if chosen else []
    return _Data(model=shown, versions=versions, chosen=chosen, variants=variants, jobs=jobs)


class _View:
    live: Live[_Data]

    def __init__(self, page: Page, name: str) -> None:
        self._name = name
        self._chosen: Version | None = None
        self._compress = CompressForm(page, name)
        self._upload = VersionForm(page, name, self._refresh)
        with model_heading(page, name, ""):
            form.button("New version", self._upload.open, test_id="new-version")
            form.button("Compress", self._open_compress, test_id="compress")
            form.button("Roll out", self._roll_out, test_id="roll-out", is_primary=True)
        with section("Model", test_id="signature"):
            self._facts = Facts()
        self._versions = VersionBox(page, self._refresh)
        self._variants = VariantBoxes()
        with section("Jobs", hint="about this version", wide=True, test_id="model-jobs"):
            self._jobs = Table(JOB_COLUMNS, nothing="No job was run about this version.")
        if "upload" in page.query:
            ui.timer(0.1, self._upload.open, once=True)

    def show(self, data: _Data) -> None:
        now = datetime.now(UTC)
        self._chosen = data.chosen
        self._facts.show(model_facts(data.model))
        self._versions.show(data.versions, data.chosen, now)
        self._variants.show(data.chosen, data.variants, now)
        self._jobs.show([job_row(job, now) for job in data.jobs])

    async def _refresh(self) -> None:
        await self.live.refresh()

    async def _open_compress(self) -> None:
        if self._chosen is None:
            ui.notify("This model has no version yet.", type="warning")
            return
        await self._compress.open(self._chosen.number)

    def _roll_out(self) -> None:
        version = f"&version={self._chosen.number}" if self._chosen else ""
        ui.navigate.to(f"/rollouts?model={self._name}{version}")


def model_facts(shown: Model) -> list[tuple[str, Any]]:
    """Say what a model takes, gives and is."""
    labels, signature = shown.class_labels, shown.signature
    more = f" and {len(labels) - _LABELS} more" if len(labels) > _LABELS else ""
    inputs = [recipes.tensor(spec) for spec in signature.inputs] if signature else []
    outputs = [recipes.tensor(spec) for spec in signature.outputs] if signature else []
    return [
        ("Task", shown.task),
        ("Inputs", "; ".join(inputs) or "known after the first version"),
        ("Outputs", "; ".join(outputs)),
        ("Preprocessing", ", then ".join(map(recipes.preprocessing, shown.preprocessing)) or "none: takes tensors"),
        ("Classes", f"{len(labels)}: {', '.join(labels[:_LABELS])}{more}" if labels else ""),
        ("Licence", shown.licence or "not stated"),
    ]
